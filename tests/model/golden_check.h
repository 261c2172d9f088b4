// One golden file against the model: shared by the CPU and the GPU tests.
#pragma once

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "model/mixers/registry.h"
#include "tests/model/bound_model.h"
#include "tests/model/golden_file.h"

namespace sisa::tests {

// Whether the model has this system; $SISA_GOLDEN_DIR may hold files of others.
inline bool known(const std::string& name) {
  for (const model::System& system : model::systems())
    if (system.name == name) return true;
  return false;
}

struct GoldenTolerance {
  double forward;    // of logits, loss and hidden states, relative to a tensor's largest value
  double gradients;  // likewise; 0: only that they are finite
};
inline constexpr GoldenTolerance fp32_tolerance{2e-5, 2e-5};

inline void check_golden(const GoldenFile& golden, common::Precision precision, int64_t pad_to,
                         const at::Device& device, const GoldenTolerance& tolerance) {
  BoundModel bound(golden.config(), precision, pad_to, 1, device);
  const std::vector<std::string> names = golden.names("parameters");
  ASSERT_EQ(bound.names().size(), names.size());
  for (const std::string& name : names) {
    const at::Tensor value = golden.tensor("parameters/" + name);
    ASSERT_EQ(bound.value(name).sizes(), value.sizes()) << name;
    bound.value(name).copy_(value);
  }
  const at::Tensor all = golden.tensor("tokens").to(device);  // (B, T + 1)
  const int64_t length = all.size(1) - 1;
  const at::Tensor tokens = all.narrow(1, 0, length), targets = all.narrow(1, 1, length).contiguous();

  std::vector<at::Tensor> hidden;
  EXPECT_LT(relative_error(bound.model.logits(tokens, &hidden), golden.tensor("logits")), tolerance.forward);
  for (size_t i = 0; i < hidden.size(); ++i)
    EXPECT_LT(relative_error(hidden[i], golden.tensor("hidden/" + std::to_string(i))), tolerance.forward)
        << "layer " << i;

  const at::Tensor sum = bound.model.loss_sum(tokens, targets);
  const auto count = static_cast<double>(targets.numel());
  EXPECT_LT(relative_error(sum / count, golden.tensor("loss")), tolerance.forward);
  EXPECT_LT(relative_error(bound.model.token_losses(tokens, targets).mean(), golden.tensor("loss")),
            tolerance.forward);
  sum.backward();
  for (const std::string& name : names) {
    const at::Tensor gradient = bound.gradient(name) / count;
    if (tolerance.gradients > 0)
      EXPECT_LT(relative_error(gradient, golden.tensor("gradients/" + name)), tolerance.gradients) << name;
    else
      EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << name;
  }
}

}  // namespace sisa::tests
