// What a model says about itself.
#include <ATen/TensorOperators.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <map>
#include <numbers>

#include "model/mixers/mixer.h"
#include "model/operations/augmentation.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using model::ModelConfig;

ModelConfig small() {
  ModelConfig c = small_config("sisa", /*alpha_bias=*/3);  // softplus(3) = 3.0486 nats a token
  c.settings["max_segments"] = 1;
  return c;
}

// Of layer 1; every head has the same value but for `state_share`, since nothing else depends on the input.
std::map<std::string, at::Tensor> readings(const ModelConfig& c, int64_t length) {
  BoundModel bound(c, common::Precision::fp32);
  for (const std::string& name : bound.names()) {
    if (name.find("alpha_proj.weight") != std::string::npos) bound.value(name).zero_();
    if (name.find("lambda_raw") != std::string::npos) bound.value(name).fill_(0.5);
  }
  at::manual_seed(1);
  const auto all = bound.model.read(at::randint(61, {2, length}, at::kLong));
  EXPECT_EQ(all.size(), 2u);
  std::map<std::string, at::Tensor> result;
  for (const model::Reading& reading : all[1]) {
    EXPECT_EQ(reading.values.sizes(), at::IntArrayRef{2}) << reading.name;
    result[reading.name] = reading.values;
  }
  return result;
}

TEST(Readings, OfSisa) {
  const auto r = readings(small(), 100);
  EXPECT_EQ(r.size(), 5u);
  const double each = std::log1p(std::exp(3.0));
  EXPECT_NEAR(r.at("lambda")[1].item<double>(), std::log1p(std::exp(0.5)), 1e-6);
  EXPECT_NEAR(r.at("half_life")[0].item<double>(), std::numbers::ln2 / each, 1e-6);
  EXPECT_NEAR(r.at("decay_range")[0].item<double>(), 99 * each / 2, 1e-3);  // from token 0 to token 99
  EXPECT_NEAR(r.at("limited_share")[1].item<double>(), 61.0 / 100,
              1e-6);  // beyond 120 nats: see decoding_test
  const at::Tensor share = r.at("state_share");
  EXPECT_GT(share.min().item<double>(), 0);
  EXPECT_LT(share.max().item<double>(), 1);
}

TEST(Readings, OfControlsAndOtherSystems) {
  ModelConfig c = small();
  c.settings["decay"] = c.settings["rotation"] = "none";
  c.settings["lambda"] = "fixed";
  const auto bilinear = readings(c, 20);
  EXPECT_EQ(bilinear.size(), 2u);
  EXPECT_NEAR(bilinear.at("lambda")[0].item<double>(), std::log1p(std::exp(-1.0)), 1e-6);
  EXPECT_EQ(bilinear.count("state_share"), 1u);
  use_system(c, "transformer");
  EXPECT_TRUE(readings(c, 20).empty());
}

// By the definition: variance along each row's visible tokens, rows added up.
TEST(Readings, ShareOfVariance) {
  at::manual_seed(2);
  const int64_t H = 3, T = 7;
  at::Tensor a = at::randn({2, H, T, T}, at::kDouble), b = at::randn({2, H, T, T}, at::kDouble) * 2;
  a.select(1, 2).zero_();
  b.select(1, 2).zero_();
  double of_a = 0, of_b = 0;
  for (int64_t batch = 0; batch < 2; ++batch)
    for (int64_t i = 1; i < T; ++i) {
      of_a += a[batch][1][i].narrow(0, 0, i + 1).var(/*unbiased=*/false).item<double>();
      of_b += b[batch][1][i].narrow(0, 0, i + 1).var(/*unbiased=*/false).item<double>();
    }
  const at::Tensor share = model::variance_share(a, b);
  EXPECT_NEAR(share[1].item<double>(), of_a / (of_a + of_b), 1e-12);
  EXPECT_EQ(share[2].item<double>(), 0);
  const at::Tensor moved = model::variance_share(a + at::randn({2, H, T, 1}, at::kDouble), b);
  EXPECT_LT(relative_error(moved.narrow(0, 0, 2), share.narrow(0, 0, 2)), 1e-12);
}

// The state term by its definition equals the product of the channels that attention gets.
TEST(Readings, ScoresOfTheStateAreThoseOfTheAugmentation) {
  at::manual_seed(3);
  const int64_t B = 2, T = 23, H = 3, d_state = 4, d_head = 16;
  const at::Tensor C = at::randn({B, T, H, d_state}, at::kDouble),
                   Bs = at::randn({B, T, H, d_state}, at::kDouble),
                   log_alpha = -at::randn({B, T, H}, at::kDouble).abs(),
                   theta = at::randn({B, T, H, d_state / 2}, at::kDouble),
                   lambda = at::full({H}, 0.7, at::kDouble);
  for (const bool decays : {true, false})
    for (const bool rotates : {true, false}) {
      const model::Exponents exponents =
          decays ? model::decay_exponents(log_alpha, model::DecayOffset()) : model::Exponents();
      const model::Augmentation more =
          model::augment(C, Bs, exponents, rotates ? theta.cumsum(1) : at::Tensor(), lambda, d_head);
      const at::Tensor product =
          at::einsum("bihn,bjhn->bhij", {more.query, more.key}).tril() / std::sqrt(16.0);
      const at::Tensor scores = model::state_scores(C, Bs, decays ? log_alpha : at::Tensor(),
                                                    rotates ? theta : at::Tensor(), lambda);
      EXPECT_LT(relative_error(product, scores), 1e-12) << decays << rotates;
    }
}

}  // namespace
}  // namespace sisa::tests
