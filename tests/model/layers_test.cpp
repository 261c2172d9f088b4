// A network whose layers differ, behind learned vectors that stand before every sequence: what LanguageModel does
// for a system whose layers are not all alike.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/costs.h"
#include "model/generate.h"
#include "model/layer.h"
#include "model/mixers/attention_mixer.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using common::Precision;
using model::ModelConfig;

constexpr int64_t num_prefix = 3, window = 5;

// Layer 0 sees everything and has a SwiGLU; the others see a window and the prefix, share one key head and have no
// SwiGLU.
class Layered final : public model::AttentionMixer {
 public:
  explicit Layered(const model::LayerContext& context) : AttentionMixer(context, shape_of(context)) {
    pad_projections();
  }
  bool has_feed_forward() const override { return context_.index == 0; }

 private:
  static model::AttentionShape shape_of(const model::LayerContext& context) {
    model::AttentionShape shape = model::multi_head_shape(context.config, context.config.real("rope_base"));
    if (context.index == 0) return shape;
    shape.num_kv_heads = 1;
    shape.window = window;
    shape.prefix = num_prefix;
    shape.rope_base = 0;
    return shape;
  }
};

const bool added = model::add_system(
    {.name = "layered",
     .doc = "attention of another geometry in every layer",
     .keys = {model::num_heads_key(), model::rope_base_key()},
     .make_mixer = model::make_mixer<Layered>,
     .make_prefix = [](const ModelConfig& config) {
       common::Parameter p{
           .name = "meta_tokens", .bucket = "embedding", .rows = num_prefix, .columns = config.d_model};
       p.blocks = {{"meta_tokens", {num_prefix, config.d_model}, 0, common::normal(0.02)}};
       return p;
     }});

ModelConfig config() {
  ModelConfig c = small_config("layered");
  c.num_layers = 3;
  return c;
}

at::Tensor tokens(int64_t batch, int64_t length) {
  return at::randint(61, {batch, length}, at::kLong);
}

TEST(Layers, CountsAreSumsOverLayers) {
  ASSERT_TRUE(added);
  const ModelConfig c = config();
  const double d = 32, f = 43, V = 61, T = 40;
  // W_Q, W_K, W_V and W_O: of layer 0 with two heads of 16 channels, of the others with one key and value head.
  const double first = 4 * d * d, other = 2 * d * d + 2 * 16 * d;
  EXPECT_EQ(static_cast<double>(model::num_parameters(c)),
            V * d + num_prefix * d + (first + d + 3 * d * f + d) + 2 * (other + d) + d);
  // Of 40 tokens and the prefix before them, 43 positions go through the layers.
  const int64_t positions = 40 + num_prefix;
  double all = 0, seen = 0;  // pairs of a query and a key: in layer 0, in the others
  for (int64_t i = 0; i < positions; ++i)
    for (int64_t j = 0; j <= i; ++j) ++all, seen += j > i - window || j < num_prefix;
  const double P = static_cast<double>(positions), weights = first + 3 * d * f + 2 * other;
  EXPECT_NEAR(model::forward_flops(c, 40), 2 * (weights * P / T + V * d) + 4 * d * (all + 2 * seen) / T,
              1e-6);
  EXPECT_NEAR(model::cache_bytes(c, 40), (2 * 2 * d * P + 2 * 2 * 2 * 16 * (num_prefix + window)) / T, 1e-9);
}

TEST(Layers, ASystemMayHaveNoFeedForwardAtAll) {
  static const bool bare_added = model::add_system({.name = "bare",
                                                    .doc = "attention alone",
                                                    .keys = {model::num_heads_key(), model::rope_base_key()},
                                                    .has_feed_forward = false,
                                                    .make_mixer = model::make_mixer<Layered>});
  ASSERT_TRUE(bare_added);
  ModelConfig c = config();
  use_system(c, "bare");
  EXPECT_EQ(c.d_ff, 0);
  EXPECT_THROW(model::match_d_ff(c, 1'000'000), model::ConfigError);
}

TEST(Layers, DecodingIsTheWhole) {
  BoundModel bound(config(), Precision::fp64);
  at::manual_seed(1);
  const at::Tensor x = tokens(2, 50);
  std::vector<at::Tensor> hidden;
  const at::Tensor whole = bound.model.logits(x, &hidden);
  EXPECT_EQ(hidden.back().sizes(), (at::IntArrayRef{2, 50, 32}));  // without what stands before the sequence
  EXPECT_LT(relative_error(bound.model.logits(x, nullptr, model::Pass::training), whole), 1e-13);
  ASSERT_TRUE(bound.model.can_continue());
  model::Cache cache = bound.model.make_cache();
  int64_t t = 0;
  for (const int64_t length : {7, 1, 1, 20, 1, 20}) {
    t += length;
    const at::Tensor next = bound.model.next_logits(x.narrow(1, t - length, length), cache);
    EXPECT_LT(relative_error(next, whole.select(1, t - 1)), 1e-12) << t;
  }
}

TEST(Layers, NoTokenSeesTheFuture) {
  BoundModel bound(config(), Precision::fp64);
  at::manual_seed(2);
  const at::Tensor x = tokens(1, 30), changed = x.clone();
  changed[0][20] = (x[0][20] + 1) % 61;
  const at::Tensor a = bound.model.logits(x), b = bound.model.logits(changed);
  EXPECT_TRUE(at::equal(a.narrow(1, 0, 20), b.narrow(1, 0, 20)));
  EXPECT_FALSE(at::equal(a.narrow(1, 20, 1), b.narrow(1, 20, 1)));
}

TEST(Layers, ThePrefixLearnsWithTheRest) {
  for (const int64_t recomputed : {0, 2}) {
    BoundModel bound(config(), Precision::fp64);
    bound.model.set_recomputed_layers(recomputed);
    at::manual_seed(3);
    const at::Tensor x = tokens(2, 11), y = tokens(2, 11);
    bound.model.loss_sum(x, y).backward();
    expect_gradients_of_finite_differences(bound, x, y, "recomputed " + std::to_string(recomputed));
  }
}

}  // namespace
}  // namespace sisa::tests
