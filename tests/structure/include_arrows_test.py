"""Reads the #include lines of the source tree and fails on any arrow that docs/architecture.md does not draw.

The rules: which folder may include which, includes written from the root, no <torch/torch.h> (it takes 26 s to compile), no LibTorch
in what nvcc compiles, no file over 600 lines except tables that a script writes.
"""
import re
import unittest

from sources import FOLDERS, ROOT, SUPPORTING, PlantedTree, includes, source_files

LIBTORCH = re.compile(r"(torch|ATen|c10|caffe2)/")
MAXIMUM_LINES = 600


def include_problems(root, path):
    own = path.relative_to(root).parts[0]
    for line, mark, name in includes(path):
        where = f"{path.relative_to(root)}:{line}"
        target = name.split("/")[0]
        if name in ("torch/torch.h", "torch/all.h"):
            yield f"{where}: includes <{name}>, which takes 26 s to compile; include the ATen headers that it uses"
        elif target in FOLDERS and mark == "<":
            yield f"{where}: our own {name} in angle brackets; write it in quotes"
        elif mark == '"' and not (root / name).is_file():
            yield f'{where}: "{name}" is not a path from the root of the repository'
        elif mark == '"' and own in FOLDERS and target != own and target not in FOLDERS[own]:
            yield f"{where}: {own} may not include {target} ({name}); see the dependency rule in docs/architecture.md"


def libtorch_in_cuda(root, path):
    """LibTorch's headers reached from a file that nvcc compiles, through our own headers too."""
    reached, todo = {path}, [path]
    while todo:
        current = todo.pop()
        for line, _, name in includes(current):
            if LIBTORCH.match(name):
                yield f"{current.relative_to(root)}:{line}: <{name}> reaches {path.relative_to(root)}, and CUDA sources include no LibTorch"
            elif (root / name).is_file() and root / name not in reached:
                reached.add(root / name)
                todo.append(root / name)


def problems(root):
    found = []
    for path in source_files(root, (*FOLDERS, *SUPPORTING)):
        found += include_problems(root, path)
        if path.suffix in (".cu", ".cuh"):
            found += libtorch_in_cuda(root, path)
        lines = path.read_text().splitlines()
        length = len(lines)
        if length > MAXIMUM_LINES and not lines[0].startswith("// Written by scripts/"):
            found.append(f"{path.relative_to(root)}: {length} lines; split files of more than {MAXIMUM_LINES}")
    return found


class ThisRepository(unittest.TestCase):
    def test_it_has_every_folder(self):
        for folder in FOLDERS:
            self.assertTrue(list((ROOT / folder).glob("*.h")), f"{folder}/ has no header: is the list in this test out of date?")

    def test_it_keeps_the_rules(self):
        found = problems(ROOT)
        self.assertFalse(found, "\n" + "\n".join(found))


class PlantedMistakes(PlantedTree):
    """Each rule finds its violation in a made-up tree: otherwise a pass above would say nothing."""

    def assert_only(self, pattern):
        found = problems(self.root)
        self.assertEqual(len(found), 1, found)
        self.assertRegex(found[0], pattern)

    def test_a_clean_tree_passes(self):
        self.plant("launcher/main.cpp", "".join(f'#include "{name}/{name}.h"\n' for name in FOLDERS))
        self.plant("tests/model/x_test.cpp", '#include "parallel/parallel.h"\n#include <gtest/gtest.h>\n')
        self.assertEqual(problems(self.root), [])

    def test_every_forbidden_arrow_is_found(self):
        for own, allowed in FOLDERS.items():
            for target in FOLDERS.keys() - allowed - {own}:
                self.plant(f"{own}/planted.cpp", f'\n  #  include "{target}/{target}.h"  // why not\n')
                self.assert_only(rf"{own}/planted\.cpp:2: {own} may not include {target} ")
                (self.root / own / "planted.cpp").unlink()

    def test_includes_not_from_the_root(self):
        for name in ("model.h", "../common/common.h", "common/absent.h"):
            self.plant("model/planted.cpp", f'#include "{name}"\n')
            self.assert_only("not a path from the root")

    def test_angle_brackets_around_our_own(self):
        self.plant("model/planted.cpp", "#include <data/data.h>\n")
        self.assert_only("angle brackets")

    def test_all_of_torch(self):
        self.plant("tests/planted.cpp", "#include <torch/torch.h>\n")
        self.assert_only("takes 26 s")

    def test_libtorch_in_cuda(self):
        self.plant("model/planted.cu", "#include <ATen/core/Tensor.h>\n")
        self.assert_only(r"model/planted\.cu:1: .*no LibTorch")

    def test_libtorch_in_cuda_through_a_header(self):
        self.plant("common/common.h", "#include <vector>\n#include <c10/util/Exception.h>\n")
        self.plant("model/model.h", '#include "common/common.h"\n')
        self.plant("model/planted.cu", '#include "model/model.h"\n')
        self.assert_only(r"common/common\.h:2: .* reaches model/planted\.cu")

    def test_long_files(self):
        self.plant("data/planted.cpp", "\n" * MAXIMUM_LINES)
        self.assertEqual(problems(self.root), [])
        self.plant("data/planted.cpp", "\n" * (MAXIMUM_LINES + 1))
        self.assert_only("601 lines")


if __name__ == "__main__":
    unittest.main()
