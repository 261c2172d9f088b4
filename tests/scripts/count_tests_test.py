"""scripts/count_tests.py and what it counts: how the main functions of our test programs report to CTest that cases passed, failed
or were all skipped.

CTest sets SISA_SAMPLE_CASES and SISA_SAMPLE_CASES_MPI (programs made of sample_cases.cpp with either main function),
SISA_MPIEXEC, SISA_CTEST and SISA_BUILD, the folder of the build.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COUNT_TESTS = ROOT / "scripts" / "count_tests.py"
RUN_CASES = ROOT / "tests" / "run_cases.py"
SKIPPED = 77

PYTHON_CASES = """
import unittest

class Sample(unittest.TestCase):
    def test_passes(self):
        pass

    def test_fails(self):
        self.fail("on purpose")

    def test_is_skipped(self):
        self.skipTest("on purpose")

@unittest.skip("on purpose")
class SkippedClass(unittest.TestCase):
    def test_is_skipped(self):
        pass

class SkippedSetUp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise unittest.SkipTest("on purpose")

    def test_is_skipped(self):
        pass
"""


def alone(cases):
    return [os.environ["SISA_SAMPLE_CASES"], f"--gtest_filter={cases}"]


def under_mpirun(cases):
    return [os.environ["SISA_MPIEXEC"], "-n", "2", os.environ["SISA_SAMPLE_CASES_MPI"], f"--gtest_filter={cases}"]


class CountTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.python_cases = self.folder / "sample_test.py"
        self.python_cases.write_text(PYTHON_CASES)

    def python(self, *cases):
        return [sys.executable, str(RUN_CASES), str(self.python_cases), *cases]

    def count(self, commands, num_all=None):
        """Runs the commands by CTest, as scripts/test.sh does; returns count_tests.py's output and exit status."""
        lines = []
        for i, command in enumerate(commands):
            words = " ".join(f'"{word}"' for word in command)
            lines.append(f'add_test(test{i} {words})\nset_tests_properties(test{i} PROPERTIES SKIP_RETURN_CODE {SKIPPED})\n')
        (self.folder / "CTestTestfile.cmake").write_text("".join(lines))
        results = self.folder / "results.xml"
        subprocess.run([os.environ["SISA_CTEST"], "--test-dir", self.folder, "--output-junit", results], capture_output=True)
        done = subprocess.run([sys.executable, COUNT_TESTS, results, str(num_all or len(commands))], capture_output=True, text=True)
        return done.stdout, done.returncode

    def assert_count(self, commands, last_line, status, num_all=None):
        output, found_status = self.count(commands, num_all)
        self.assertEqual(output.splitlines()[-1], last_line, output)
        self.assertEqual(found_status, status, output)


class Programs(CountTest):
    def test_a_program_that_skips_everything_is_skipped(self):
        for start in alone, under_mpirun:
            self.assert_count([start("Sample.IsSkipped"), start("Sample.Passes")], "1 passed, 0 failed, 1 skipped", 0)

    def test_one_case_that_passes_is_enough(self):
        for start in alone, under_mpirun:
            self.assert_count([start("Sample.Passes:Sample.IsSkipped")], "1 passed, 0 failed, 0 skipped", 0)

    def test_a_failure_beside_skipped_cases_is_a_failure(self):
        for start in alone, under_mpirun:
            self.assert_count([start("Sample.Fails:Sample.IsSkipped")], "0 passed, 1 failed, 0 skipped", 1)

    def test_a_filter_that_selects_nothing_is_a_failure(self):
        for start in alone, under_mpirun:
            self.assert_count([start("Misspelt.*")], "0 passed, 1 failed, 0 skipped", 1)

    def test_listing_the_cases_is_no_failure(self):
        done = subprocess.run([os.environ["SISA_SAMPLE_CASES"], "--gtest_list_tests"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0)
        self.assertIn("IsSkipped", done.stdout)


class PythonFiles(CountTest):
    def test_each_way_of_skipping_everything_is_skipped(self):
        commands = [self.python(cases) for cases in ("Sample.test_is_skipped", "SkippedClass", "SkippedSetUp")]
        self.assert_count([*commands, self.python("Sample.test_passes")], "1 passed, 0 failed, 3 skipped", 0)

    def test_one_case_that_passes_is_enough(self):
        self.assert_count([self.python("Sample.test_passes", "Sample.test_is_skipped")], "1 passed, 0 failed, 0 skipped", 0)

    def test_a_failure_beside_skipped_cases_is_a_failure(self):
        self.assert_count([self.python("Sample.test_fails", "Sample.test_is_skipped")], "0 passed, 1 failed, 0 skipped", 1)

    def test_a_misspelt_case_is_a_failure(self):
        self.assert_count([self.python("Misspelt")], "0 passed, 1 failed, 0 skipped", 1)

    def test_a_file_without_cases_is_a_failure(self):
        self.python_cases.write_text("")
        self.assert_count([self.python()], "0 passed, 1 failed, 0 skipped", 1)


class Counting(CountTest):
    def test_a_missing_program_is_a_failure(self):
        self.assert_count([[str(self.folder / "absent")], self.python("Sample.test_passes")], "1 passed, 1 failed, 0 skipped", 1)

    def test_tests_left_out_by_their_label_are_skipped(self):
        self.assert_count([self.python("Sample.test_passes")], "1 passed, 0 failed, 4 skipped", 0, num_all=5)

    def test_a_run_that_only_skipped_is_no_success(self):
        output, status = self.count([self.python("SkippedClass")])
        self.assertIn("No test ran.", output)
        self.assertEqual(status, 1)


class OurTests(unittest.TestCase):
    """The entries of the real build."""

    def test_every_entry_may_report_that_it_was_skipped(self):
        listing = subprocess.check_output([os.environ["SISA_CTEST"], "--test-dir", os.environ["SISA_BUILD"], "--show-only=json-v1"])
        wrong = []
        for test in json.loads(listing)["tests"]:
            command = " ".join(map(str, test.get("command", [])))
            properties = {p["name"]: p["value"] for p in test["properties"]}
            if ("--gtest_filter=" in command or "run_cases.py" in command) and properties.get("SKIP_RETURN_CODE") != SKIPPED:
                wrong.append(test["name"])
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
