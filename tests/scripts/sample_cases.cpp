// Cases with a known outcome, for tests/scripts/count_tests_test.py.
#include <gtest/gtest.h>

TEST(Sample, Passes) {}

TEST(Sample, Fails) {
  FAIL() << "on purpose";
}

TEST(Sample, IsSkipped) {
  GTEST_SKIP() << "on purpose";
}
