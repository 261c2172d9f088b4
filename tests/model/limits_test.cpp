// Limit cases in which one system is another, or a part of itself (spec section 11).
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "model/mixers/grouped_query.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using common::Precision;
using model::ModelConfig;

at::Tensor tokens(int64_t batch, int64_t length) {
  return at::randint(61, {batch, length}, at::kLong);
}

// Attention alone: of a Transformer without positions, and of Falcon-H1.
struct WithoutPositions final : model::AttentionMixer {
  explicit WithoutPositions(const model::LayerContext& c)
      : AttentionMixer(c, model::multi_head_shape(c.config, /*rope_base=*/0)) {
    pad_projections();
  }
};
const bool added = model::add_system({.name = "without_positions",
                                      .doc = "attention without positions",
                                      .keys = {model::num_heads_key()},
                                      .make_mixer = model::make_mixer<WithoutPositions>});
const bool added_too = model::add_system(
    {.name = "grouped",
     .doc = "attention whose query heads share keys and values",
     .keys = {model::num_heads_key(), model::num_kv_heads_key(), model::rope_base_key(1e11)},
     .complete = [](ModelConfig& config) { model::complete_num_kv_heads(config, 1 << 20); },
     .make_mixer = [](const model::LayerContext& c) -> std::unique_ptr<model::Mixer> {
       return std::make_unique<model::GroupedQueryAttention>(
           c, c.prefix + "attention.", model::grouped_query_shape(c.config, c.config.real("rope_base")));
     }});

void set(BoundModel& bound, const std::string& part, double value) {
  int64_t count = 0;
  for (const std::string& name : bound.names())
    if (name.find(part) != std::string::npos) bound.value(name).fill_(value), ++count;
  EXPECT_GT(count, 0) << part;
}

// `bound` and `other` compute the same from those parameters whose names `other` has.
void expect_equal_models(BoundModel& bound, const std::string& other, double allowed) {
  BoundModel reference(small_config(other), Precision::fp64);
  for (const std::string& name : reference.names()) reference.value(name).copy_(bound.value(name));
  at::manual_seed(5);
  const at::Tensor x = tokens(2, 50);
  for (const model::Pass pass : {model::Pass::training, model::Pass::evaluation})
    EXPECT_LT(relative_error(bound.model.logits(x, nullptr, pass), reference.model.logits(x, nullptr, pass)),
              allowed)
        << other;
}

TEST(Limits, FoxThatForgetsNothingIsATransformerWithoutPositions) {
  ASSERT_TRUE(added);
  BoundModel fox(small_config("fox"), Precision::fp64);
  stir(fox);
  set(fox, "forget_proj.weight", 0);
  set(fox, "forget_proj.bias", 40);
  expect_equal_models(fox, "without_positions", 1e-12);
  set(fox, "forget_proj.bias", 0);
  BoundModel reference(small_config("without_positions"), Precision::fp64);
  for (const std::string& name : reference.names()) reference.value(name).copy_(fox.value(name));
  const at::Tensor x = tokens(2, 50);
  EXPECT_GT(relative_error(fox.model.logits(x), reference.model.logits(x)), 1e-2);
}

TEST(Limits, FalconWithOneBranchIsThatBranch) {
  ASSERT_TRUE(added_too);
  BoundModel without_mamba(small_config("falcon_h1"), Precision::fp64),
      without_attention(small_config("falcon_h1"), Precision::fp64);
  stir(without_mamba);
  stir(without_attention);
  set(without_mamba, "mamba.out_proj.weight", 0);
  expect_equal_models(without_mamba, "grouped", 1e-13);
  // Jamba of fewer layers than five has none with attention.
  set(without_attention, "attention.W_O.weight", 0);
  ModelConfig all_mamba = small_config("jamba");
  all_mamba.settings["attention_layers"] = std::vector<int64_t>{};
  BoundModel reference(all_mamba, Precision::fp64);
  for (const std::string& name : reference.names())
    reference.value(name).copy_(without_attention.value(name));
  const at::Tensor x = tokens(2, 50);
  EXPECT_LT(relative_error(without_attention.model.logits(x), reference.model.logits(x)), 1e-13);
}

TEST(Limits, HymbaWithOneBranchIgnoresTheOther) {
  const ModelConfig config = small_config("hymba");
  const int64_t of_attention = config.d_model + 16 + 32;  // rows of q, k and v
  const auto logits_change = [&](const char* switched_off, const auto& change) {
    BoundModel bound(config, Precision::fp64);
    stir(bound);
    set(bound, switched_off, 0);
    at::manual_seed(6);
    const at::Tensor x = tokens(2, 50), before = bound.model.logits(x);
    for (int64_t i = 0; i < config.num_layers; ++i) change(bound, "layers." + std::to_string(i) + ".");
    return relative_error(bound.model.logits(x), before);
  };
  const auto change_attention = [&](BoundModel& bound, const std::string& prefix) {
    bound.value(prefix + "in_proj.weight").narrow(0, 0, of_attention).mul_(-1.5);
  };
  const auto change_mamba = [&](BoundModel& bound, const std::string& prefix) {
    const at::Tensor in = bound.value(prefix + "in_proj.weight");
    in.narrow(0, of_attention, in.size(0) - of_attention).mul_(-1.5);
    bound.value(prefix + "A_log").add_(1);
    bound.value(prefix + "conv1d.weight").mul_(2);
  };
  EXPECT_EQ(logits_change("attention_norm.weight", change_attention), 0);
  EXPECT_EQ(logits_change("mamba_norm.weight", change_mamba), 0);
  EXPECT_GT(logits_change("attention_norm.weight", change_mamba), 1e-2);
  EXPECT_GT(logits_change("mamba_norm.weight", change_attention), 1e-2);
}

TEST(Limits, HymbasWindowOfAllTokensIsFullAttention) {
  ModelConfig wide = small_config("hymba"), full = wide, narrow = wide;
  wide.settings["window"] = 53;
  full.settings["full_attention_layers"] = std::vector<int64_t>{0, 1};
  const auto logits = [&](const ModelConfig& config) {
    BoundModel bound(config, Precision::fp64);
    stir(bound);
    at::manual_seed(7);
    return bound.model.logits(tokens(2, 50));
  };
  EXPECT_LT(relative_error(logits(wide), logits(full)), 1e-14);
  EXPECT_GT(relative_error(logits(narrow), logits(full)), 1e-3);
}

TEST(Limits, HymbaMayHaveNoMetaTokens) {
  ModelConfig config = small_config("hymba");
  config.settings["num_meta_tokens"] = 0;
  BoundModel bound(config, Precision::fp64);
  stir(bound);
  EXPECT_EQ(bound.model.num_prefix(), 0);
  at::manual_seed(8);
  const at::Tensor x = tokens(2, 50), whole = bound.model.logits(x);
  model::Cache cache = bound.model.make_cache();
  bound.model.next_logits(x.narrow(1, 0, 30), cache);
  for (int64_t t = 30; t < 50; ++t)
    EXPECT_LT(relative_error(bound.model.next_logits(x.narrow(1, t, 1), cache), whole.select(1, t)), 1e-12)
        << t;
}

// Attention without positions sees a set of tokens.
TEST(Limits, JambaWithoutMambaDoesNotKnowTheOrder) {
  BoundModel bound(small_config("jamba"), Precision::fp64);
  stir(bound);
  at::manual_seed(9);
  const at::Tensor x = tokens(1, 40),
                   order = at::cat({at::randperm(39, at::kLong), at::full({1}, 39, at::kLong)}),
                   permuted = x.index_select(1, order);
  const auto difference = [&] {
    return relative_error(bound.model.logits(permuted).select(1, 39), bound.model.logits(x).select(1, 39));
  };
  EXPECT_GT(difference(), 1e-3);
  set(bound, "mamba.out_proj.weight", 0);
  EXPECT_LT(difference(), 1e-12);
}

// lam = 1 and no rotation leave x_t k_t^T to weigh Delta_t: a state space as Mamba-2's, here with rates
// softplus(dd_A).
TEST(Limits, Mamba3WithoutTrapezoidAndRotationIsAStateSpace) {
  ModelConfig config = small_config("mamba3");
  config.settings["decay_activation"] = "softplus";
  config.num_layers = 1;
  BoundModel bound(config, Precision::fp64);
  stir(bound);
  constexpr int64_t inner = 64, N = 6, h = 4, T = 30;
  const std::string prefix = "layers.0.mamba.";
  const at::Tensor in = bound.value(prefix + "in_proj.weight"), embedding = bound.value("embed.weight");
  embedding.select(1, 0).fill_(1);  // so that every input of the layer has a positive first channel
  const int64_t trap = 2 * inner + 2 * N + 2 * h;
  in.narrow(0, trap, h + N / 4).zero_();  // trap and angle
  in.narrow(0, trap, h).select(1, 0).fill_(1e4);

  at::manual_seed(10);
  const at::Tensor x = tokens(2, T);
  std::vector<at::Tensor> hidden;
  bound.model.logits(x, &hidden, model::Pass::training);

  const auto norm = [](const at::Tensor& y, double epsilon) {
    return y * at::rsqrt(y.square().mean(-1, true) + epsilon);
  };
  const at::Tensor stream = embedding.index_select(0, x.flatten()).view({2, T, config.d_model});
  const at::Tensor projected = at::matmul(norm(stream, 1e-6) * bound.value("layers.0.norm.weight"), in.t());
  const auto part = [&](int64_t first, int64_t width) { return projected.narrow(-1, first, width); };
  const at::Tensor u = part(inner, inner).unflatten(-1, {h, -1});
  const auto state = [&](int64_t first, const std::string& name) {
    return (norm(part(first, N), 1e-5) * bound.value(prefix + name + "_norm.weight")).unsqueeze(2) +
           bound.value(prefix + name + "_bias").squeeze(1);
  };
  const at::Tensor B = state(2 * inner, "B"), C = state(2 * inner + N, "C"),
                   step = at::softplus(part(2 * inner + 2 * N, h) + bound.value(prefix + "dt_bias")),
                   rate = at::softplus(part(2 * inner + 2 * N + h, h));
  at::Tensor S = at::zeros({2, h, inner / h, N}, at::kDouble);
  std::vector<at::Tensor> outputs;
  for (int64_t t = 0; t < T; ++t) {
    const auto at_t = [&](const at::Tensor& all) { return all.select(1, t); };
    S = S * (-at_t(step) * at_t(rate)).exp().unsqueeze(-1).unsqueeze(-1) +
        (at_t(step).unsqueeze(-1) * at_t(u)).unsqueeze(-1) * at_t(B).unsqueeze(2);
    outputs.push_back((S * at_t(C).unsqueeze(2)).sum(-1) + bound.value(prefix + "D").unsqueeze(-1) * at_t(u));
  }
  const at::Tensor gated = at::stack(outputs, 1).flatten(2) * at::silu(part(0, inner));
  const at::Tensor expected = stream + at::matmul(gated, bound.value(prefix + "out_proj.weight").t());
  EXPECT_LT(relative_error(hidden.front(), expected), 1e-12);
}

// A whole network's results do not depend on the chunks, whatever part of the last one is filled.
TEST(Limits, ChunksOfAnyLengthGiveTheSame) {
  for (const std::string& system : every_system()) {
    if (!model::find_system(system).find_key("chunk_length")) continue;
    at::Tensor expected, gradient;
    for (const int64_t length : {1, 16, 64, 256}) {
      ModelConfig config = small_config(system);
      config.settings["chunk_length"] = length;
      BoundModel bound(config, Precision::fp64);
      stir(bound);
      at::manual_seed(11);
      const at::Tensor x = tokens(2, 70);
      const at::Tensor logits = bound.model.logits(x);
      bound.model.loss_sum(x, x).backward();
      const at::Tensor of_embedding = bound.gradient("embed.weight").clone();
      if (!expected.defined()) {
        expected = logits;
        gradient = of_embedding;
      }
      EXPECT_LT(relative_error(logits, expected), 1e-12) << system << " " << length;
      EXPECT_LT(relative_error(of_embedding, gradient), 1e-12) << system << " " << length;
    }
  }
}

// Decays of 400 nats a token in every state-space layer, forward and backward.
TEST(Limits, StatesThatForgetAtOnceStayFinite) {
  for (const std::string& system : every_system()) {
    if (!model::find_system(system).find_key("chunk_length")) continue;
    for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::bf16_pure}) {
      BoundModel bound(small_config(system), precision);
      set(bound, "dt_bias", 400);
      at::manual_seed(12);
      const at::Tensor x = tokens(2, 70), loss = bound.model.loss_sum(x, x);
      loss.backward();
      EXPECT_TRUE(std::isfinite(loss.item<double>())) << system;
      for (const std::string& name : bound.names())
        EXPECT_TRUE(bound.gradient(name).isfinite().all().item<bool>()) << system << " " << name;
    }
  }
}

}  // namespace
}  // namespace sisa::tests
