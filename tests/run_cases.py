"""run_cases.py FILE [ARGUMENT ...]: runs the unittest cases of a file as `python FILE ARGUMENT ...` would, for CTest.

The exit status is 0 if a case passed and none failed, 77 if every case was skipped (SKIP_RETURN_CODE in tests/CMakeLists.txt, so
that CTest does not count it as passed), else 1.
"""
import importlib.util
import pathlib
import sys
import unittest

SKIPPED = 77


class CountingResult(unittest.TextTestResult):
    num_passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.num_passed += 1


class CountingRunner(unittest.TextTestRunner):
    resultclass = CountingResult


def main(path, arguments):
    sys.path.insert(0, str(path.parent))  # where a script started by itself would look for modules
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    result = unittest.main(module, argv=[str(path), *arguments], testRunner=CountingRunner, exit=False).result
    if not result.wasSuccessful():
        return 1
    if result.num_passed > 0:
        return 0
    return SKIPPED if result.skipped else 1


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]))
