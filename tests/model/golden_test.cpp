// The model against float64 vectors made from the defining equations, through the code that trains.
#include <gtest/gtest.h>

#include "tests/model/golden_check.h"

namespace sisa::tests {
namespace {

struct Case {
  std::filesystem::path file;
  common::Precision precision;
  int64_t pad_to;
  GoldenTolerance tolerance;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto& file : golden_files()) {
    all.push_back({file, common::Precision::fp64, 1, {1e-9, 1e-9}});
    all.push_back({file, common::Precision::fp64, 8, {1e-9, 1e-9}});
    all.push_back({file, common::Precision::fp32, 8, fp32_tolerance});
  }
  return all;
}

class Golden : public testing::TestWithParam<Case> {};

TEST_P(Golden, LogitsLossHiddenStatesAndGradients) {
  const GoldenFile golden(GetParam().file);
  if (!known(golden.system())) GTEST_SKIP() << "the system " << golden.system() << " does not exist yet";
  check_golden(golden, GetParam().precision, GetParam().pad_to, at::kCPU, GetParam().tolerance);
}

INSTANTIATE_TEST_SUITE_P(Files, Golden, testing::ValuesIn(cases()), [](const auto& test) {
  const char* precision = test.param.precision == common::Precision::fp64 ? "fp64" : "fp32";
  return test.param.file.stem().string() + "_" + precision + "_padded_to_" +
         std::to_string(test.param.pad_to);
});

}  // namespace
}  // namespace sisa::tests
