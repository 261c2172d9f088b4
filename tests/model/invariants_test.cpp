// What must hold whatever the weights (spec sections 1.4, 1.8 and 11).
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <utility>

#include "model/costs.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using common::Precision;
using model::ModelConfig;

at::Tensor tokens(int64_t batch, int64_t length, int64_t vocab_size = 61) {
  return at::randint(vocab_size, {batch, length}, at::kLong);
}

class EverySystem : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Systems, EverySystem, testing::ValuesIn(every_system()),
                         [](const auto& test) { return test.param; });

TEST_P(EverySystem, InitialLossOfRandomTokens) {
  ModelConfig c = small_config(GetParam());
  c.vocab_size = 5000;
  c.d_model = 256;
  c.settings["num_heads"] = 4;
  c.d_ff = 300;
  c.settings["alpha_bias"] = -5;
  use_system(c, GetParam());
  BoundModel bound(c, Precision::fp32);
  at::manual_seed(1);
  const double loss =
      bound.model.token_losses(tokens(8, 256, 5000), tokens(8, 256, 5000)).mean().item<double>();
  EXPECT_NEAR(loss, std::log(5000.0) + 256 * 2e-4, 0.03);
}

TEST_P(EverySystem, PaddingChangesNothingAndStaysZero) {
  at::manual_seed(2);
  const at::Tensor x = tokens(2, 19), y = tokens(2, 19);
  BoundModel plain(small_config(GetParam()), Precision::fp64, 1),
      padded(small_config(GetParam()), Precision::fp64, 64);
  const at::Tensor a = plain.model.loss_sum(x, y), b = padded.model.loss_sum(x, y);
  EXPECT_LT(relative_error(b, a), 1e-13);
  a.backward();
  b.backward();
  double logical = 0, physical = 0;
  for (const std::string& name : plain.names()) {
    EXPECT_LT(relative_error(padded.gradient(name), plain.gradient(name)), 1e-11) << name;
    logical += padded.gradient(name).square().sum().item<double>();
  }
  for (const auto& range : padded.space.ranges()) physical += range.gradients.square().sum().item<double>();
  EXPECT_DOUBLE_EQ(physical, logical);
}

TEST_P(EverySystem, RecomputedActivationsGiveTheSameGradients) {
  at::manual_seed(3);
  const at::Tensor x = tokens(2, 19), y = tokens(2, 19);
  model::ModelConfig config = small_config(GetParam());
  if (GetParam() == "sisa") {  // so that some pairs are limited, and counted
    config.settings["max_segments"] = 1;
    config.settings["causal_offset"] = 0.5;
  }
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    BoundModel kept(config, precision), again(config, precision);
    const at::Tensor a = kept.model.loss_sum(x, y);
    a.backward();
    const at::Tensor limited = take_limited(kept.model);
    for (const int64_t n : {1, 2}) {
      again.model.set_recomputed_layers(n);
      again.space.zero_gradients();
      const at::Tensor b = again.model.loss_sum(x, y);
      EXPECT_EQ(count_nodes(b, "Recomputed"), n);
      b.backward();
      EXPECT_TRUE(a.equal(b));
      for (const std::string& name : kept.names())
        EXPECT_TRUE(kept.gradient(name).equal(again.gradient(name))) << name << ", " << n << " layers";
      const at::Tensor limited_again = take_limited(again.model);
      ASSERT_EQ(limited.defined(), limited_again.defined());
      if (limited.defined()) {
        EXPECT_GT(limited.item<int64_t>(), 0);
        EXPECT_EQ(limited.item<int64_t>(), limited_again.item<int64_t>());
      }
    }
  }
}

TEST_P(EverySystem, EarlierLogitsDoNotDependOnLaterTokens) {
  at::manual_seed(4);
  BoundModel bound(small_config(GetParam()), Precision::fp32);
  stir(bound);
  const at::Tensor x = tokens(1, 37), changed = x.clone();
  const int64_t t = 20;
  changed.narrow(1, t, 17).copy_((x.narrow(1, t, 17) + 1).remainder(61));
  for (const model::Pass pass : {model::Pass::evaluation, model::Pass::training}) {
    const at::Tensor before = bound.model.logits(x, nullptr, pass),
                     after = bound.model.logits(changed, nullptr, pass);
    EXPECT_TRUE(at::equal(before.narrow(1, 0, t), after.narrow(1, 0, t)));
    EXPECT_FALSE(at::equal(before.narrow(1, t, 1), after.narrow(1, t, 1)));
  }
}

TEST_P(EverySystem, GradientsAreThoseOfFiniteDifferences) {
  std::vector<ModelConfig> configs = {small_config(GetParam())};
  if (GetParam() == "sisa") {
    for (const auto& [key, value] : {std::pair{"decay", "none"}, std::pair{"rotation", "none"},
                                     std::pair{"lambda", "fixed"}, std::pair{"offset", "minimax"}}) {
      configs.push_back(small_config("sisa"));
      configs.back().settings[key] = value;
    }
  }
  // Every choice of every other key, and chunks of which the last is not full.
  for (const model::Key& key : model::find_system(GetParam()).keys) {
    if (GetParam() != "sisa")
      for (const std::string& choice : key.choices) {
        configs.push_back(small_config(GetParam()));
        configs.back().settings[key.name] = choice;
      }
    if (key.name == "chunk_length") {
      configs.push_back(small_config(GetParam()));
      configs.back().settings[key.name] = 4;
    }
  }
  at::manual_seed(5);
  const at::Tensor x = tokens(2, 11), y = tokens(2, 11);
  for (size_t i = 0; i < configs.size(); ++i) {
    BoundModel bound(configs[i], Precision::fp64);
    stir(bound, 0.05);
    bound.model.loss_sum(x, y).backward();
    expect_gradients_of_finite_differences(bound, x, y, "config " + std::to_string(i));
  }
}

// The batch with targets only where `keep` is true, and the one with the others, add up to the whole.
TEST_P(EverySystem, NegativeTargetsArePredictedNowhere) {
  at::manual_seed(5);
  const at::Tensor x = tokens(3, 17), y = tokens(3, 17), keep = at::randint(3, {3, 17}, at::kLong).eq(0);
  const at::Tensor some = y.masked_fill(keep.logical_not(), -1), others = y.masked_fill(keep, -100);
  ASSERT_GT(keep.sum().item<int64_t>(), 5);
  BoundModel whole(small_config(GetParam()), Precision::fp64),
      parts(small_config(GetParam()), Precision::fp64), first(small_config(GetParam()), Precision::fp64);
  for (BoundModel* bound : {&whole, &parts, &first}) stir(*bound);
  whole.model.loss_sum(x, y).backward();
  const at::Tensor loss = parts.model.loss_sum(x, some);
  first.model.loss_sum(x, some).backward();
  loss.backward();
  parts.model.loss_sum(x, others).backward();
  for (const std::string& name : whole.names()) {
    EXPECT_LT(relative_error(parts.gradient(name), whole.gradient(name)), 1e-11) << name;
    EXPECT_GT(relative_error(first.gradient(name), whole.gradient(name)), 1e-3) << name;
  }

  at::Tensor correct;
  const at::Tensor all = whole.model.token_losses(x, y), losses = whole.model.token_losses(x, some, &correct);
  EXPECT_LT(relative_error(losses, all * keep), 1e-13);
  EXPECT_LT(relative_error(loss, losses.sum()), 1e-13);
  const at::Tensor likeliest = whole.model.logits(x).argmax(-1);
  EXPECT_TRUE(at::equal(correct, likeliest.eq(some)));
  whole.model.token_losses(x, likeliest, &correct);
  EXPECT_TRUE(correct.all().item<bool>());
}

TEST(Sisa, WithoutLambdaIsTheTransformer) {
  for (const double raw : {-40.0, -200.0}) {  // at -200 softplus is exactly 0 in fp32
    BoundModel sisa(small_config("sisa"), Precision::fp32),
        transformer(small_config("transformer"), Precision::fp32);
    for (const std::string& name : transformer.names()) sisa.value(name).copy_(transformer.value(name));
    for (const std::string& name : sisa.names())
      if (name.ends_with("lambda_raw")) sisa.value(name).fill_(raw);
    at::manual_seed(6);
    const at::Tensor x = tokens(2, 23);
    EXPECT_LT(relative_error(sisa.model.logits(x), transformer.model.logits(x)), 1e-5);
    sisa.model.loss_sum(x, x).backward();
    for (const std::string& name : sisa.names())
      EXPECT_TRUE(sisa.gradient(name).isfinite().all().item<bool>()) << name << " " << raw;
  }
}

// The published offset depends on the last token, so that a bound clamp lets the past see the future.
TEST(Sisa, MinimaxLeaksOnceItsClampBinds) {
  ModelConfig c = small_config("sisa");
  c.settings["offset"] = "minimax";
  c.settings["alpha_bias"] = 1.5;  // total decay of about 63 over 37 tokens: far beyond twice the clamp of 11
  BoundModel bound(c, Precision::fp64);
  stir(bound);
  at::manual_seed(7);
  const at::Tensor x = tokens(1, 37), changed = x.clone();
  changed.narrow(1, 36, 1).copy_((x.narrow(1, 36, 1) + 1).remainder(61));
  const at::Tensor before = bound.model.logits(x).narrow(1, 0, 36),
                   after = bound.model.logits(changed).narrow(1, 0, 36);
  EXPECT_GT((before - after).abs().max().item<double>(), 1e-9);
}

// e^{g_i} C_i and e^{-g_j} B_j: a shift of all g cancels. With a constant decay, another offset is such a
// shift.
TEST(Sisa, AnotherOffsetChangesNothing) {
  ModelConfig c = small_config("sisa"), other = c;
  other.settings["causal_offset"] = 40;
  BoundModel a(c, Precision::fp64), b(other, Precision::fp64);
  at::manual_seed(8);
  const at::Tensor x = tokens(2, 29);
  EXPECT_LT(relative_error(b.model.logits(x), a.model.logits(x)), 1e-12);
}

TEST(Sisa, NoDecayAndNoRotationHaveFewerParameters) {
  ModelConfig c = small_config("sisa");
  const int64_t all = model::num_parameters(c), heads = c.whole("num_heads"), layers = c.num_layers,
                d = c.d_model;
  c.settings["decay"] = "none";
  EXPECT_EQ(all - model::num_parameters(c), layers * (heads * d + heads));
  c.settings["rotation"] = "none";
  EXPECT_EQ(all - model::num_parameters(c),
            layers * (heads * d + heads + d * heads * c.whole("d_state") / 2));
  c.settings["lambda"] = "fixed";
  EXPECT_EQ(all - model::num_parameters(c),
            layers * (heads * d + 2 * heads + d * heads * c.whole("d_state") / 2));
}

// Largest |g + c0| from 5 to 80: nothing overflows, forward or backward. 600 tokens are several tiles of the
// attention.
TEST(Sisa, AnyRangeOfDecayStaysFinite) {
  for (const auto& [precision, length] : {std::pair{Precision::fp32, 64}, std::pair{Precision::bf16, 64},
                                          std::pair{Precision::fp32, 600}, std::pair{Precision::bf16, 600}})
    for (const double range : {5.0, 11.0, 22.0, 43.0, 60.0, 75.0, 80.0}) {
      ModelConfig c = small_config("sisa");
      c.settings["causal_offset"] = range;
      c.settings["max_segments"] = 1;
      const double each = 2 * range / length;  // softplus(alpha) of each token
      c.settings["alpha_bias"] = std::log(std::expm1(each));
      BoundModel bound(c, precision);
      at::manual_seed(9);
      const at::Tensor x = tokens(2, length);
      const at::Tensor loss = bound.model.loss_sum(x, x);
      loss.backward();
      EXPECT_TRUE(std::isfinite(loss.item<double>())) << range;
      for (const std::string& name : bound.names())
        EXPECT_TRUE(bound.gradient(name).isfinite().all().item<bool>()) << name << " at " << range;
    }
}

TEST(Precision, Bf16IsNearFp32) {
  BoundModel wide(small_config("sisa"), Precision::fp32), narrow(small_config("sisa"), Precision::bf16);
  at::manual_seed(10);
  const at::Tensor x = tokens(2, 33);
  EXPECT_LT(relative_error(narrow.model.logits(x), wide.model.logits(x)), 2e-2);
}

// Everything is bf16 but lambda_raw, gradients too, so they are near those of fp32 and no nearer.
TEST(Precision, PureBf16TrainsInItsOwnTypes) {
  BoundModel wide(small_config("sisa"), Precision::fp32), pure(small_config("sisa"), Precision::bf16_pure);
  at::manual_seed(12);
  const at::Tensor x = tokens(2, 33), y = tokens(2, 33);
  EXPECT_LT(relative_error(pure.model.logits(x), wide.model.logits(x)), 1e-2);
  const at::Tensor expected = wide.model.loss_sum(x, y), loss = pure.model.loss_sum(x, y);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  EXPECT_LT(relative_error(loss, expected), 1e-4);
  expected.backward();
  loss.backward();
  for (const std::string& name : pure.names()) {
    const bool lambda = name.ends_with("lambda_raw");
    EXPECT_EQ(pure.value(name).scalar_type(), lambda ? at::kFloat : at::kBFloat16) << name;
    EXPECT_EQ(pure.gradient(name).scalar_type(), lambda ? at::kFloat : at::kBFloat16) << name;
    EXPECT_LT(relative_error(pure.gradient(name), wide.gradient(name)), 5e-2) << name;
  }
}

TEST(Precision, ManySmallBatchesAreOneLargeInBf16) {
  BoundModel many(small_config("sisa"), Precision::bf16), one(small_config("sisa"), Precision::bf16);
  at::manual_seed(11);
  const at::Tensor x = tokens(256, 8), y = tokens(256, 8);
  for (int64_t i = 0; i < 256; ++i) many.model.loss_sum(x.narrow(0, i, 1), y.narrow(0, i, 1)).backward();
  one.model.loss_sum(x, y).backward();
  for (const std::string& name : one.names()) {
    EXPECT_EQ(many.gradient(name).scalar_type(), at::kFloat);
    EXPECT_LT(relative_error(many.gradient(name), one.gradient(name)), 2e-3) << name;
  }
}

TEST(Initial, EqualNamesAndShapesAreEqualAcrossSystems) {
  BoundModel sisa(small_config("sisa"), Precision::fp32, 8, 42),
      transformer(small_config("transformer"), Precision::fp32, 64, 42),
      another(small_config("sisa"), Precision::fp32, 8, 43);
  for (const std::string& name : transformer.names())
    EXPECT_TRUE(at::equal(sisa.value(name), transformer.value(name))) << name;
  EXPECT_FALSE(at::equal(sisa.value("embed.weight"), another.value("embed.weight")));
  EXPECT_NEAR(sisa.value("embed.weight").square().mean().sqrt().item<double>(), 0.02, 0.002);
  EXPECT_NEAR(sisa.value("layers.0.theta_proj.weight").square().mean().sqrt().item<double>(), 0.01, 0.002);
  EXPECT_EQ(sisa.value("layers.1.alpha_proj.bias").min().item<double>(), -2);
  EXPECT_EQ(sisa.value("layers.1.lambda_raw").max().item<double>(), -1);
  EXPECT_EQ(sisa.value("final_norm.weight").min().item<double>(), 1);
}

}  // namespace
}  // namespace sisa::tests
