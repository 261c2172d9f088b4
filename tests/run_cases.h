// Runs the test cases of a program and says by the exit status what became of them, so that CTest counts a
// program whose every case was skipped as skipped and not as passed.
#pragma once

#include <gtest/gtest.h>

#include <iostream>

namespace sisa::tests {

enum class Outcome : int {
  passed = 0,
  failed = 1,
  skipped = 77  // SKIP_RETURN_CODE in tests/CMakeLists.txt
};

// Runs the cases of this process that --gtest_filter selects. A filter that selects none is a failure, since
// in CTest it means that a suite's name is misspelt.
inline Outcome run_cases() {
  if (RUN_ALL_TESTS() != 0) return Outcome::failed;
  const testing::UnitTest& program = *testing::UnitTest::GetInstance();
  if (program.start_timestamp() == 0) return Outcome::passed;  // --help or --gtest_list_tests: nothing ran
  if (program.test_to_run_count() == 0) {
    std::cerr << "No test case matches --gtest_filter.\n";
    return Outcome::failed;
  }
  return program.successful_test_count() > 0 ? Outcome::passed : Outcome::skipped;
}

}  // namespace sisa::tests
