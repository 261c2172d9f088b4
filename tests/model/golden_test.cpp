// The model against float64 vectors made from the defining equations, through the code that trains.
#include <gtest/gtest.h>

#include "tests/model/golden_check.h"
#include "tests/model/plain_model.h"
#include "tests/model/twins.h"

namespace sisa::tests {
namespace {

using common::Precision;

struct Case {
  std::filesystem::path file;
  Precision precision;
  int64_t pad_to;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto& file : golden_files())
    for (const auto& [precision, pad_to] : {std::pair<Precision, int64_t>{Precision::fp64, 1},
                                            {Precision::fp64, 8},
                                            {Precision::fp32, 8},
                                            {Precision::bf16, 8}})
      all.push_back({file, precision, pad_to});
  return all;
}

class Golden : public testing::TestWithParam<Case> {};

TEST_P(Golden, LogitsLossHiddenStatesAndGradients) {
  const GoldenFile file(GetParam().file);
  if (!known(file.system())) GTEST_SKIP() << "the system " << file.system() << " does not exist yet";
  check_golden(GoldenCase(file), GetParam().precision, GetParam().pad_to, at::kCPU);
}

INSTANTIATE_TEST_SUITE_P(Files, Golden, testing::ValuesIn(cases()), [](const auto& test) {
  return test.param.file.stem().string() + "_" + name_of(test.param.precision) + "_padded_to_" +
         std::to_string(test.param.pad_to);
});

// The twin that bf16 gradients are measured by is the same network.
TEST(PlainModel, IsTheGoldenFilesInFp64) {
  for (const auto& path : golden_files()) {
    const GoldenFile file(path);
    if (!known(file.system())) continue;
    SCOPED_TRACE(file.name());
    const GoldenCase golden(file);
    for (const ScoreForm form : {ScoreForm::direct, ScoreForm::augmented}) {
      const PlainModel plain(golden.config, golden.parameters, at::kDouble, form);
      const PlainModel::Result result = plain(golden.tokens, golden.targets);
      EXPECT_LT(relative_error(result.logits, golden.logits), 1e-12);
      EXPECT_LT(relative_error(result.loss, golden.loss), 1e-12);
      ASSERT_EQ(result.hidden.size(), golden.hidden.size());
      for (size_t i = 0; i < result.hidden.size(); ++i)
        EXPECT_LT(relative_error(result.hidden[i], golden.hidden[i]), 1e-12) << i;
      result.loss.backward();
      for (const auto& [name, leaf] : plain.parameters())
        EXPECT_LT(relative_error(leaf.grad(), golden.gradients.at(name)), 1e-12) << name;
    }
  }
}

}  // namespace
}  // namespace sisa::tests
