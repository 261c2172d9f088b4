// FoX's forget gate as channels of the key, against an explicit matrix of decays (spec section 3).
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/operations/attention.h"
#include "model/operations/forgetting.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using common::Precision;

constexpr double scale = 0.125;  // heads of 64 channels

TEST(BiasChannels, HoldWhatFp32Holds) {
  for (const auto& [range, allowed] :
       {std::pair{100.0, 4e-6}, std::pair{500.0, 1.6e-5}, std::pair{1000.0, 3.1e-5}}) {
    const at::Tensor bias = at::linspace(-range, 0, 4001, at::kDouble).view({1, 4001, 1});
    const auto error = [&](at::ScalarType type) {
      const at::Tensor channels = model::bias_channels(bias, scale, type);
      EXPECT_EQ(channels.size(-1), model::num_bias_channels(type));
      return (channels.to(at::kDouble).sum(-1) * scale - bias).abs().max().item<double>();
    };
    EXPECT_LT(error(at::kBFloat16), allowed) << range;
    EXPECT_LT(error(at::kFloat), allowed) << range;
    EXPECT_LT(error(at::kDouble), 1e-12) << range;
  }
}

TEST(BiasChannels, MoveWithTheirOffset) {
  at::manual_seed(1);
  const at::Tensor bias = -at::rand({2, 50, 3}, at::kDouble) * 100,
                   change = -at::rand({2, 3}, at::kDouble) * 200;
  for (const auto type : {at::kBFloat16, at::kFloat, at::kDouble}) {
    const at::Tensor channels = model::bias_channels(bias, scale, type);
    model::change_bias(channels, change, scale);
    EXPECT_LT(
        (channels.to(at::kDouble).sum(-1) * scale - (bias + change.unsqueeze(1))).abs().max().item<double>(),
        type == at::kDouble ? 1e-12 : 4e-5);
  }
}

struct Attended {
  at::Tensor output, of_query, of_log_forget;
};
// Softmax(scale q k^T + F_i - F_j + shift) v and gradients; by channels in `type`, or, in fp64, by an
// explicit matrix.
Attended attended(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& log_forget,
                  bool by_channels, at::ScalarType type = at::kDouble, double shift = 0) {
  const at::Tensor query = q.to(type).clone().set_requires_grad(true),
                   gates = log_forget.clone().set_requires_grad(true);
  const at::Tensor sums = gates.cumsum(1) + shift;
  at::Tensor output;
  if (by_channels) {
    const at::Tensor channels = model::bias_channels(-sums, scale, type);
    output = model::attention(
        at::cat({query, at::ones(channels.sizes(), channels.options().requires_grad(false))}, -1),
        at::cat({k.to(type), channels}, -1), v.to(type), shape_of(query, scale));
  } else {
    const at::Tensor g = sums.transpose(1, 2);
    const at::Tensor scores =
        at::einsum("bihn,bjhn->bhij", {query, k}) * scale + g.unsqueeze(-1) - g.unsqueeze(-2);
    const at::Tensor hidden = at::ones({q.size(1), q.size(1)}, at::kBool).triu(1);
    output =
        at::einsum("bhij,bjhn->bihn",
                   {scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()).softmax(-1), v});
  }
  at::manual_seed(7);
  (output.to(at::kDouble) * at::randn(output.sizes(), at::kDouble)).sum().backward();
  return {output, query.grad(), gates.grad()};
}

TEST(Forgetting, ChannelsAreTheMatrixOfDecays) {
  at::manual_seed(2);
  const int64_t T = 300;
  const auto numbers = [&] { return at::randn({2, T, 3, 64}, at::kDouble); };
  const at::Tensor q = numbers(), k = numbers(), v = numbers();
  for (const double range : {0.0, 5.0, 100.0, 500.0}) {
    const at::Tensor log_forget = -at::rand({2, T, 3}, at::kDouble) * 2 * range / T;
    const Attended expected = attended(q, k, v, log_forget, false);
    for (const auto& [type, allowed] : {std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 1e-4}}) {
      const Attended found = attended(q, k, v, log_forget, true, type);
      EXPECT_LT(relative_error(found.output, expected.output), allowed) << range;
      EXPECT_LT(relative_error(found.of_query, expected.of_query), allowed) << range;
      EXPECT_LT(relative_error(found.of_log_forget, expected.of_log_forget), allowed) << range;
    }
    // A constant added to all sums changes nothing, and no gradient reaches the first token's gate, which is
    // one.
    const Attended moved = attended(q, k, v, log_forget, true, at::kDouble, 17);
    EXPECT_LT(relative_error(moved.output, expected.output), 1e-12);
    EXPECT_LT(moved.of_log_forget.select(1, 0).abs().max().item<double>(),
              1e-11 * moved.of_log_forget.abs().max().item<double>());
  }
}

// Sums of log f far beyond one segment of an evaluation, and the training form, which has one offset.
TEST(Fox, AnyRangeOfForgettingIsTheSameInEveryForm) {
  for (const char* system : {"fox", "fox_pro"})
    for (const double bias : {0.0, -13.5, -40.0}) {  // 0.7, 13.5 and 40 nats a token
      model::ModelConfig config = small_config(system);
      config.settings["forget_bias"] = bias;
      at::manual_seed(3);
      const at::Tensor x = at::randint(61, {2, 120}, at::kLong);
      BoundModel wide(config, Precision::fp64);
      stir(wide, 0.05);
      const at::Tensor expected = wide.model.logits(x);
      EXPECT_LT(relative_error(wide.model.logits(x, nullptr, model::Pass::training), expected), 1e-11)
          << bias;
      for (const auto& [precision, allowed] :
           {std::pair{Precision::fp32, 1e-5}, std::pair{Precision::bf16, 2e-2}}) {
        BoundModel narrow(config, precision);
        for (const std::string& name : wide.names()) narrow.value(name).copy_(wide.value(name));
        for (const model::Pass pass : {model::Pass::training, model::Pass::evaluation})
          EXPECT_LT(relative_error(narrow.model.logits(x, nullptr, pass), expected), allowed) << bias;
        narrow.model.loss_sum(x, x).backward();
        for (const std::string& name : narrow.names())
          EXPECT_TRUE(narrow.gradient(name).isfinite().all().item<bool>()) << name << " " << bias;
      }
    }
}

}  // namespace
}  // namespace sisa::tests
