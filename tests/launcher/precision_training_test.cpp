// What the number types of a precision mode do to training: the published code's trap, and its remedy.
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>

#include <map>

#include "launcher/recipe/schedule.h"
#include "launcher/run/learner.h"
#include "tests/mpi_world.h"

namespace sisa::tests {
namespace {

using common::Precision;

model::ModelConfig small() {
  model::ModelConfig c;
  c.vocab_size = 61;
  c.d_model = 32;
  c.num_layers = 2;
  c.settings["num_heads"] = 2;
  c.d_ff = 48;
  c.settings["d_state"] = 8;
  return c;
}

// The weights by name before and after 200 steps by the paper's rules at 152M parameters.
struct Training {
  explicit Training(Precision precision) {
    launcher::Learner learner(
        small(),
        {.precision = precision,
         .optimizer = {.learning_rate = 6e-4, .weight_decay_on = parallel::WeightDecayOn::all}},
        world());
    learner.space().initialise(1);
    const auto weights = [&] {
      std::map<std::string, at::Tensor> all;
      for (common::Parameter* p : learner.model().parameters())
        for (const common::Block& block : p->blocks)
          all[block.name] = p->view(p->value.detach(), block).clone();
      return all;
    };
    before = weights();
    const launcher::Schedule schedule = {.kind = launcher::ScheduleKind::cosine, .total = 200, .warmup = 10};
    at::manual_seed(1);
    for (int64_t step = 0; step < schedule.total; ++step) {
      const at::Tensor tokens =
          at::randint(16, {4, 25}, at::kLong);  // a quarter of the vocabulary: to be learned
      const launcher::StepResult result = learner.step(
          [&](int64_t first, int64_t count) {
            const at::Tensor batch = tokens.narrow(0, first, count);
            return data::Batch{batch.narrow(1, 0, 24), batch.narrow(1, 1, 24).contiguous()};
          },
          4, 4 * 24, schedule.factor(step));
      if (step == 0) first_loss = result.loss;
      last_loss = result.loss;
    }
    after = weights();
  }
  // Whether each parameter whose name contains `part` is bit for bit as it was.
  std::vector<bool> unmoved(const std::string& part) const {
    std::vector<bool> result;
    for (const auto& [name, value] : before)
      if (name.find(part) != std::string::npos) result.push_back(at::equal(value, after.at(name)));
    return result;
  }
  std::map<std::string, at::Tensor> before, after;
  double first_loss = 0, last_loss = 0;
};

TEST(PrecisionTraining, PureBf16FreezesBiasAndNorms) {
  const Training pure(Precision::bf16_pure), mixed(Precision::bf16);
  for (const Training* training : {&pure, &mixed}) EXPECT_LT(training->last_loss, training->first_loss - 0.3);
  for (const auto& [part, count] : {std::pair{"alpha_proj.bias", 2}, std::pair{"norm.weight", 5}}) {
    EXPECT_EQ(pure.unmoved(part), std::vector<bool>(static_cast<size_t>(count), true)) << part;
    EXPECT_EQ(mixed.unmoved(part), std::vector<bool>(static_cast<size_t>(count), false)) << part;
  }
  // lambda_raw is fp32 in both; matrices have small values, whose bf16 steps are small too.
  for (const char* part : {"lambda_raw", "W_Q.weight"})
    for (const Training* training : {&pure, &mixed})
      EXPECT_EQ(training->unmoved(part), std::vector<bool>(2, false)) << part;
}

TEST(LambdaRaw, IsNeverBf16NeverDecaysAndHasALearningRateOfItsOwn) {
  model::ModelConfig config = small();
  config.rate_factors["lambda_lr"] = 0.25;
  launcher::Learner learner(config, {}, world());
  const common::ParameterTraits expected = {
      .kind = common::ParameterKind::vector, .never_bf16 = true, .never_decays = true, .lr_scale = 0.25};
  int64_t count = 0;
  for (const common::Parameter* p : learner.model().parameters()) {
    const bool is_lambda = p->blocks.front().name.ends_with("lambda_raw");
    EXPECT_EQ(p->traits == expected, is_lambda) << p->name;
    count += is_lambda;
  }
  EXPECT_EQ(count, config.num_layers);
}

// An update without a gradient only decays.
TEST(WeightDecay, ReachesBiasesAndNormsOnlyWhereAllDecay) {
  using parallel::WeightDecayOn;
  for (const WeightDecayOn decay_on : {WeightDecayOn::matrices, WeightDecayOn::all}) {
    const parallel::AdamWOptions options = {.weight_decay = 0.1, .weight_decay_on = decay_on};
    launcher::Learner learner(small(), {.precision = Precision::bf16, .optimizer = options}, world());
    parallel::ParameterSpace& space = learner.space();
    space.initialise(1);
    const auto masters = [&] {
      std::map<std::string, at::Tensor> all;
      for (const parallel::BlockSlice& piece : space.owned_pieces())
        all[piece.block->name] = space.read(piece, parallel::StateArray::weights);
      return all;
    };
    const auto before = masters();
    EXPECT_TRUE(learner.optimizer().step(learner.communicator(), 1, 1).applied);
    for (const auto& [name, after] : masters()) {
      const bool vector = name.ends_with("norm.weight") || name.ends_with("alpha_proj.bias");
      const bool decays = vector ? decay_on == WeightDecayOn::all : !name.ends_with("lambda_raw");
      const double expected = decays ? 1 - options.learning_rate * options.weight_decay : 1;
      EXPECT_TRUE(at::allclose(after, before.at(name) * expected, /*rtol=*/1e-6, /*atol=*/0)) << name;
      EXPECT_EQ(at::equal(after, before.at(name)), !decays) << name;
    }
  }
}

}  // namespace
}  // namespace sisa::tests
