// Twelve steps of training against float64 reference vectors, at every number of ranks, by the code that
// trains.
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "launcher/recipe/schedule.h"
#include "launcher/run/learner.h"
#include "model/mixers/registry.h"
#include "tests/model/bound_model.h"
#include "tests/model/golden_file.h"
#include "tests/mpi_world.h"

namespace sisa::tests {
namespace {

// Relative to the largest value of a tensor or curve; measured: 2e-15. AdamW forgives a constant factor of
// the gradient, so that a clip without its epsilon would show by no more than 1e-9.
constexpr double tolerance = 1e-12;

// The rules that the vectors were made with (tests/data/golden): those of the published code at another
// learning rate, over twelve steps.
constexpr launcher::Schedule schedule = {.kind = launcher::ScheduleKind::cosine, .total = 12, .warmup = 3};
parallel::AdamWOptions rules() {
  return {.learning_rate = 6e-3, .weight_decay_on = parallel::WeightDecayOn::all};
}

std::vector<std::filesystem::path> files_with_training() {
  std::vector<std::filesystem::path> files;
  for (const auto& file : golden_files()) {
    const GoldenFile golden(file);
    const auto& systems = model::systems();
    if (golden.has("training") &&
        std::any_of(systems.begin(), systems.end(), [&](const auto& s) { return s.name == golden.system(); }))
      files.push_back(file);
  }
  return files;
}

struct Activations {  // how a rank's samples go through the model
  int64_t micro_batch, recompute;
};
class GoldenTraining
    : public testing::TestWithParam<std::tuple<std::filesystem::path, bool /*sharded*/, Activations>> {};

TEST_P(GoldenTraining, LossGradientNormLearningRateAndParameters) {
  const auto& [file, sharded, activations] = GetParam();
  const GoldenFile golden(file);
  launcher::Learner learner(golden.config(),
                            {.precision = common::Precision::fp64,
                             .sharded = sharded,
                             .micro_batch = activations.micro_batch,
                             .recompute = activations.recompute,
                             .optimizer = rules()},
                            world());
  const auto logical = [&](const std::string& name) {
    for (common::Parameter* p : learner.model().parameters())
      for (const common::Block& block : p->blocks)
        if (block.name == name) return p->view(p->value.detach(), block);
    throw std::runtime_error("no parameter " + name);
  };
  const std::vector<std::string> names = golden.names("parameters");
  for (const std::string& name : names) logical(name).copy_(golden.tensor("parameters/" + name));

  const at::Tensor tokens = golden.tensor("training/tokens");  // (steps, B, T + 1)
  const int64_t num_samples = tokens.size(1), length = tokens.size(2) - 1;
  ASSERT_EQ(tokens.size(0), schedule.total);
  std::vector<double> losses, norms, rates;
  for (int64_t step = 0; step < schedule.total; ++step) {
    const double factor = schedule.factor(step);
    const launcher::StepResult result = learner.step(
        [&](int64_t first, int64_t count) {
          const at::Tensor batch = tokens[step].narrow(0, first, count);
          return data::Batch{batch.narrow(1, 0, length), batch.narrow(1, 1, length).contiguous()};
        },
        num_samples, num_samples * length, factor);
    EXPECT_TRUE(result.applied);
    losses.push_back(result.loss);
    norms.push_back(result.gradient_norm);
    rates.push_back(factor * rules().learning_rate);
  }

  double worst = 0;
  const auto expect_near = [&](const at::Tensor& found, const std::string& name) {
    const double error = relative_error(found, golden.tensor("training/" + name));
    EXPECT_LT(error, tolerance) << name;
    worst = std::max(worst, error);
  };
  expect_near(at::tensor(losses), "loss");
  expect_near(at::tensor(norms), "grad_norm");
  expect_near(at::tensor(rates), "lr");
  for (const std::string& name : names) expect_near(logical(name), "parameters/" + name);
  RecordProperty("worst_error", fmt::format("{:.1e}", worst));
}

std::string case_name(const testing::TestParamInfo<GoldenTraining::ParamType>& test) {
  const auto& [file, sharded, activations] = test.param;
  return fmt::format("{}_{}_micro_batch_{}_recompute_{}", file.stem().string(),
                     sharded ? "sharded" : "replicated", activations.micro_batch, activations.recompute);
}

// Of 4 samples 3 ranks get uneven shares, and a micro-batch of 3 leaves a short one.
INSTANTIATE_TEST_SUITE_P(Files, GoldenTraining,
                         testing::Combine(testing::ValuesIn(files_with_training()), testing::Bool(),
                                          testing::Values(Activations{1, 0}, Activations{3, 1},
                                                          Activations{4, 0})),
                         case_name);

TEST(GoldenTrainingFiles, Exist) {
  EXPECT_FALSE(files_with_training().empty());
}

}  // namespace
}  // namespace sisa::tests
