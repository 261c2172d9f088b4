// The main function of test programs that run as one process.
#include <gtest/gtest.h>

#include "tests/run_cases.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return static_cast<int>(sisa::tests::run_cases());
}
