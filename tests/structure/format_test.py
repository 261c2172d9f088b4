"""Our C++ and CUDA sources are as clang-format writes them. Major versions differ in their opinions, so only the pinned one judges."""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = "14"  # Debian 12's
SKIPPED = 77
FOLDERS = ("common", "data", "model", "parallel", "checkpoint", "evaluation", "launcher", "tests", "benchmarks", "cmake")

program = shutil.which(f"clang-format-{VERSION}") or shutil.which("clang-format")
if not program:
    print("clang-format is not installed")
    sys.exit(SKIPPED)
version = re.search(r"version (\d+)", subprocess.check_output([program, "--version"], text=True))[1]
if version != VERSION:
    print(f"clang-format {version} found; the style is checked with version {VERSION}")
    sys.exit(SKIPPED)
sources = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.suffix in (".h", ".cpp", ".cu", ".cuh")]
sys.exit(subprocess.run([program, "--dry-run", "--Werror", *map(str, sorted(sources))]).returncode)
