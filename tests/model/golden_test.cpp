// The model against float64 vectors made from the defining equations, through the code that trains.
#include <gtest/gtest.h>

#include <ATen/TensorOperators.h>

#include "model/mixers/registry.h"
#include "tests/model/bound_model.h"
#include "tests/model/golden_file.h"

namespace sisa::tests {
namespace {

bool known(const std::string& name) {
  for (const model::System& system : model::systems())
    if (system.name == name) return true;
  return false;
}

struct Case {
  std::filesystem::path file;
  common::Precision precision;
  int64_t pad_to;
  double tolerance;  // relative to a tensor's largest value
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto& file : golden_files()) {
    all.push_back({file, common::Precision::fp64, 1, 1e-9});
    all.push_back({file, common::Precision::fp64, 8, 1e-9});
    all.push_back({file, common::Precision::fp32, 8, 2e-5});
  }
  return all;
}

class Golden : public testing::TestWithParam<Case> {};

TEST_P(Golden, LogitsLossHiddenStatesAndGradients) {
  const GoldenFile golden(GetParam().file);
  if (!known(golden.system())) GTEST_SKIP() << "the system " << golden.system() << " does not exist yet";
  BoundModel bound(golden.config(), GetParam().precision, GetParam().pad_to);
  const double tolerance = GetParam().tolerance;

  const std::vector<std::string> names = golden.names("parameters");
  ASSERT_EQ(bound.names().size(), names.size());
  for (const std::string& name : names) {
    const at::Tensor value = golden.tensor("parameters/" + name);
    ASSERT_EQ(bound.value(name).sizes(), value.sizes()) << name;
    bound.value(name).copy_(value);
  }
  const at::Tensor all = golden.tensor("tokens");  // (B, T + 1)
  const int64_t length = all.size(1) - 1;
  const at::Tensor tokens = all.narrow(1, 0, length), targets = all.narrow(1, 1, length).contiguous();

  std::vector<at::Tensor> hidden;
  EXPECT_LT(relative_error(bound.model.logits(tokens, &hidden), golden.tensor("logits")), tolerance);
  for (size_t i = 0; i < hidden.size(); ++i)
    EXPECT_LT(relative_error(hidden[i], golden.tensor("hidden/" + std::to_string(i))), tolerance)
        << "layer " << i;

  const at::Tensor sum = bound.model.loss_sum(tokens, targets);
  const auto count = static_cast<double>(targets.numel());
  EXPECT_LT(relative_error(sum / count, golden.tensor("loss")), tolerance);
  EXPECT_LT(relative_error(bound.model.token_losses(tokens, targets).mean(), golden.tensor("loss")),
            tolerance);
  sum.backward();
  for (const std::string& name : names)
    EXPECT_LT(relative_error(bound.gradient(name) / count, golden.tensor("gradients/" + name)), tolerance)
        << name;
}

INSTANTIATE_TEST_SUITE_P(Files, Golden, testing::ValuesIn(cases()), [](const auto& test) {
  const char* precision = test.param.precision == common::Precision::fp64 ? "fp64" : "fp32";
  return test.param.file.stem().string() + "_" + precision + "_padded_to_" +
         std::to_string(test.param.pad_to);
});

}  // namespace
}  // namespace sisa::tests
