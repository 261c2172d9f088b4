#include "tests/model/golden_check.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "model/mixers/registry.h"
#include "tests/model/plain_model.h"
#include "tests/model/twins.h"

namespace sisa::tests {
namespace {

using common::Precision;
using Tensors = std::map<std::string, at::Tensor>;

double tolerance(Precision precision) {
  return precision == Precision::fp64 ? 1e-9 : precision == Precision::fp32 ? 2e-5 : 2e-2;
}

// |actual - expected| / |expected| in the Euclidean norm.
double distance(const at::Tensor& actual, const at::Tensor& expected) {
  return ((actual.to(at::kCPU, at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

Tensors twin_gradients(const GoldenCase& golden, const at::Device& device) {
  Tensors parameters, gradients;
  for (const auto& [name, value] : golden.parameters) parameters[name] = value.to(device);
  const PlainModel twin(golden.config, parameters, at::kBFloat16);
  twin(golden.tokens.to(device), golden.targets.to(device)).loss.backward();
  for (const auto& [name, leaf] : twin.parameters()) gradients[name] = leaf.grad();
  return gradients;
}

}  // namespace

bool known(const std::string& name) {
  for (const model::System& system : model::systems())
    if (system.name == name) return true;
  return false;
}

GoldenCase::GoldenCase(const GoldenFile& file) : name(file.name()), config(file.config()) {
  const at::Tensor all = file.tensor("tokens");  // (B, T + 1)
  const int64_t length = all.size(1) - 1;
  tokens = all.narrow(1, 0, length);
  targets = all.narrow(1, 1, length).contiguous();
  logits = file.tensor("logits");
  loss = file.tensor("loss");
  for (int64_t i = 0; i < config.num_layers; ++i)
    hidden.push_back(file.tensor("hidden/" + std::to_string(i)));
  for (const std::string& parameter : file.names("parameters")) {
    parameters[parameter] = file.tensor("parameters/" + parameter);
    gradients[parameter] = file.tensor("gradients/" + parameter);
  }
}

void check_golden(const GoldenCase& golden, Precision precision, int64_t pad_to, const at::Device& device) {
  BoundModel bound(golden.config, precision, pad_to, 1, device);
  ASSERT_EQ(bound.names().size(), golden.parameters.size());
  for (const auto& [name, value] : golden.parameters) {
    ASSERT_EQ(bound.value(name).sizes(), value.sizes()) << name;
    bound.value(name).copy_(value);
  }
  const at::Tensor tokens = golden.tokens.to(device), targets = golden.targets.to(device);
  const std::string group = std::string("golden ") + name_of(precision);
  const auto expect_near = [&](const at::Tensor& actual, const at::Tensor& expected, const char* direction,
                               const std::string& what) {
    const double error = relative_error(actual, expected), allowed = tolerance(precision);
    report_error(group + direction, error, allowed, golden.name + ": " + what);
    EXPECT_LT(error, allowed) << what;
  };

  std::vector<at::Tensor> hidden;
  expect_near(bound.model.logits(tokens, &hidden), golden.logits, " forward", "logits");
  ASSERT_EQ(hidden.size(), golden.hidden.size());
  for (size_t i = 0; i < hidden.size(); ++i)
    expect_near(hidden[i], golden.hidden[i], " forward", "hidden state " + std::to_string(i));

  const at::Tensor sum = bound.model.loss_sum(tokens, targets);
  const auto count = static_cast<double>(targets.numel());
  expect_near(sum / count, golden.loss, " forward", "loss");
  expect_near(bound.model.token_losses(tokens, targets).mean(), golden.loss, " forward",
              "loss of the evaluation form");
  sum.backward();
  if (!common::is_bf16(precision)) {
    for (const auto& [name, expected] : golden.gradients)
      expect_near(bound.gradient(name) / count, expected, " backward", "the gradient of " + name);
    return;
  }
  const Tensors twin = twin_gradients(golden, device);
  for (const auto& [name, expected] : golden.gradients) {
    const double ours = distance(bound.gradient(name) / count, expected),
                 theirs = distance(twin.at(name), expected);
    report_error(group + " ratio", ours / theirs, 1.5,
                 golden.name + ": the gradient of " + name + " " + std::to_string(ours) + " " +
                     std::to_string(theirs));
    if (getenv("SISA_ALL"))
      printf("R %s %s %.4g %.4g %.3f\n", golden.name.c_str(), name.c_str(), ours, theirs, ours / theirs);
    EXPECT_LE(ours, 1.5 * theirs) << name;
  }
}

}  // namespace sisa::tests
