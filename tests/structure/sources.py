"""What the tests of this folder share: the folders of the program, how to read a C++ or CUDA source, and a made-up tree to plant
mistakes in."""
import pathlib
import re
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = {  # a folder and those that it may include, besides itself
    "common": set(),
    "data": {"common"},
    "model": {"common"},
    "parallel": {"common"},
    "checkpoint": {"common", "parallel"},
    "evaluation": {"common", "data", "model"},
    "launcher": {"common", "data", "model", "parallel", "checkpoint", "evaluation"},
}
SUPPORTING = ("tests", "benchmarks", "cmake")  # may include every folder
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def source_files(root, folders):
    """The C++ and CUDA files of some folders, in order."""
    return [path for folder in folders for path in sorted((root / folder).rglob("*")) if path.suffix in SUFFIXES]


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def includes(path):
    """(line number, '<' or '"', name) of each #include in a file."""
    text = path.read_text()
    return [(line_of(text, m.start(1)), m[1], m[2]) for m in INCLUDE.finditer(text)]


class PlantedTree(unittest.TestCase):
    """A made-up tree, self.root, of one header a folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name in FOLDERS:
            self.plant(f"{name}/{name}.h", "#pragma once\n#include <vector>\n")

    def plant(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)
