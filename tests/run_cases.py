"""run_cases.py FILE [--slow] [ARGUMENT ...]: runs the unittest cases of a file as `python FILE ARGUMENT ...` would, for CTest.

Cases and classes marked with `@slow` (tests/program/harness.py) run with --slow, and only they; the others run without it.

The exit status is 0 if a case passed and none failed, 77 if every case was skipped (SKIP_RETURN_CODE in tests/CMakeLists.txt, so
that CTest does not count it as passed), else 1.
"""
import importlib.util
import pathlib
import sys
import time
import unittest

SKIPPED = 77


class CountingResult(unittest.TextTestResult):
    num_passed = 0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        if self.showAll:  # -v
            self.stream.writeln(f"    {time.monotonic() - self.began:.1f} s")

    def addSuccess(self, test):
        super().addSuccess(test)
        self.num_passed += 1


class CountingRunner(unittest.TextTestRunner):
    resultclass = CountingResult


class Selection(unittest.TestLoader):
    """The cases that are slow, or those that are not."""

    def __init__(self, slow):
        super().__init__()
        self.slow = slow

    def getTestCaseNames(self, case):
        return [name for name in super().getTestCaseNames(case)
                if getattr(getattr(case, name), "is_slow", getattr(case, "is_slow", False)) == self.slow]


def main(path, arguments):
    slow = "--slow" in arguments
    sys.path.insert(0, str(path.parent))  # where a script started by itself would look for modules
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    result = unittest.main(module, argv=[str(path), *(a for a in arguments if a != "--slow")], testRunner=CountingRunner,
                           testLoader=Selection(slow), exit=False).result
    if not result.wasSuccessful():
        return 1
    if result.num_passed > 0:
        return 0
    return SKIPPED if result.skipped else 1


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]))
