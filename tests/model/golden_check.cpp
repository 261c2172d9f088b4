#include "tests/model/golden_check.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

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

// Of PlainModel, of the mean loss.
Tensors plain_gradients(const GoldenCase& golden, const at::Tensor& tokens, const at::Tensor& targets,
                        at::ScalarType type, ScoreForm form) {
  Tensors parameters, gradients;
  for (const auto& [name, value] : golden.parameters) parameters[name] = value.to(tokens.device());
  const PlainModel plain(golden.config, parameters, type, form);
  plain(tokens, targets).loss.backward();
  for (const auto& [name, leaf] : plain.parameters()) gradients[name] = leaf.grad().to(at::kCPU, at::kDouble);
  return gradients;
}

// Threads only get into each other's way at these sizes.
class OneThread {
 public:
  OneThread() { at::set_num_threads(1); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() { at::set_num_threads(before_); }

 private:
  int before_ = at::get_num_threads();
};

double relative_distance(const at::Tensor& actual, const at::Tensor& expected) {
  return ((actual - expected).norm() / expected.norm()).item<double>();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Every gradient in bf16 has at most 1.5 times the error of its plain twin's.
//
// An error is the Euclidean norm of the difference from the exact gradient, divided by the norm of the
// latter; what counts is its median over batches of tokens, the file's own and random ones. One batch says
// nothing of the two elements of lambda_raw or alpha's bias: the twin's error varies from 7e-4 to 6e-2 by
// luck, and is 1 where a clamp binds on one side only. The exact gradients of other batches are those of the
// plain network in fp64, which are the golden file's where there is one (PlainModel.IsTheGoldenFilesInFp64).
//
// On the CPU the twin has scores in their direct form. A GPU's attention takes query and key, and returns
// their gradients, in bf16; those of decay and rotation are small differences of the latter. There the twin
// calls LibTorch's scaled_dot_product_attention, as the published code does.
void check_bf16_gradients(const GoldenCase& golden, BoundModel& bound, const at::Device& device) {
  constexpr int num_batches = 33;
  const OneThread one_thread;
  const ScoreForm form = device.is_cpu() ? ScoreForm::direct : ScoreForm::augmented;
  std::map<std::string, std::vector<double>> ours, twins;
  at::manual_seed(1);
  for (int batch = 0; batch < num_batches; ++batch) {
    const auto draw = [&] { return at::randint(golden.config.vocab_size, golden.tokens.sizes(), at::kLong); };
    const at::Tensor tokens = batch == 0 ? golden.tokens : draw(),
                     targets = batch == 0 ? golden.targets : draw();
    const Tensors exact = batch == 0
                              ? golden.gradients
                              : plain_gradients(golden, tokens, targets, at::kDouble, ScoreForm::direct);
    const Tensors twin = plain_gradients(golden, tokens.to(device), targets.to(device), at::kBFloat16, form);
    bound.space.zero_gradients();
    bound.model.loss_sum(tokens.to(device), targets.to(device)).backward();
    const auto count = static_cast<double>(targets.numel());
    for (const auto& [name, expected] : exact) {
      ours[name].push_back(
          relative_distance(bound.gradient(name).to(at::kCPU, at::kDouble) / count, expected));
      twins[name].push_back(relative_distance(twin.at(name), expected));
      EXPECT_TRUE(std::isfinite(ours[name].back())) << "the gradient of " << name;
    }
  }
  for (const auto& [name, errors] : ours) {
    const double ratio = median(errors) / median(twins.at(name)), allowed = 1.5;
    report_error("golden bf16 backward, times the twin's error", ratio, allowed,
                 golden.name + ": the gradient of " + name);
    EXPECT_LE(ratio, allowed) << "the gradient of " << name << " is off by " << median(errors);
  }
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

  for (const auto& [pass, form] : {std::pair{model::Pass::training, " of the training form"},
                                   std::pair{model::Pass::evaluation, " of the evaluation form"}}) {
    std::vector<at::Tensor> hidden;
    expect_near(bound.model.logits(tokens, &hidden, pass), golden.logits, " forward",
                "logits" + std::string(form));
    ASSERT_EQ(hidden.size(), golden.hidden.size());
    for (size_t i = 0; i < hidden.size(); ++i)
      expect_near(hidden[i], golden.hidden[i], " forward", fmt::format("hidden state {}{}", i, form));
  }

  const at::Tensor sum = bound.model.loss_sum(tokens, targets);
  const auto count = static_cast<double>(targets.numel());
  expect_near(sum / count, golden.loss, " forward", "loss");
  expect_near(bound.model.token_losses(tokens, targets).mean(), golden.loss, " forward",
              "loss of the evaluation form");
  if (common::is_bf16(precision)) return check_bf16_gradients(golden, bound, device);
  sum.backward();
  for (const auto& [name, expected] : golden.gradients)
    expect_near(bound.gradient(name) / count, expected, " backward", "the gradient of " + name);
}

}  // namespace sisa::tests
