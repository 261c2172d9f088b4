"""count_tests.py RESULTS.xml ALL: the last line of scripts/test.sh, from CTest's JUnit file and the number of tests that were asked for.

CTest reports a test whose program is missing as "notrun", like one that was skipped; here it counts as failed. Tests that were left
out by their label (slow, gpu) count as skipped. The exit status is 1 if a test failed or none passed.
"""
import pathlib
import sys
import xml.etree.ElementTree

results, num_all = pathlib.Path(sys.argv[1]), int(sys.argv[2])
passed, failed, skipped_itself = 0, [], 0
cases = xml.etree.ElementTree.parse(results).findall("testcase") if results.exists() else []
for case in cases:
    skipped = case.find("skipped")
    reason = "" if skipped is None else skipped.get("message", "")
    if case.get("status") == "run":
        passed += 1
    elif case.get("status") == "disabled" or reason.startswith("SKIP_"):  # SKIP_RETURN_CODE, SKIP_REGULAR_EXPRESSION
        skipped_itself += 1
    else:
        failed.append(case.get("name"))
if failed:
    print("\nFailed: " + ", ".join(failed))
if not passed and not failed:
    print("\nNo test ran.")
print(f"{passed} passed, {len(failed)} failed, {skipped_itself + max(0, num_all - len(cases))} skipped")
sys.exit(bool(failed) or not passed)
