// SISA's score augmentation against its definition and its exact identities (spec 1.1, 1.4, 1.8).
#include "model/operations/augmentation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/operations/attention.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

constexpr int64_t B = 2, T = 31, H = 3, d_head = 8, d_state = 6;
const double scale = 1 / std::sqrt(static_cast<double>(d_head));

// Limits that never bind below.
model::DecayOffset offset_of(const std::string& kind) {
  return {.kind = kind == "causal" ? model::DecayOffset::Kind::causal : model::DecayOffset::Kind::minimax,
          .limit = 60};
}

// The inputs of one head-split attention, fp64 leaves.
struct Inputs {
  explicit Inputs(double decay = 1) {
    at::manual_seed(1);
    q = at::randn({B, T, H, d_head}, at::kDouble);
    k = at::randn({B, T, H, d_head}, at::kDouble);
    v = at::randn({B, T, H, d_head}, at::kDouble);
    C = at::randn({B, T, H, d_state}, at::kDouble);
    Bs = at::randn({B, T, H, d_state}, at::kDouble);
    log_alpha = -at::rand({B, T, H}, at::kDouble) * decay;
    theta = at::randn({B, T, H, d_state / 2}, at::kDouble);
    lambda = at::rand({H}, at::kDouble) + 0.1;
    weight = at::randn({B, T, H, d_head}, at::kDouble);
    for (at::Tensor* x : {&q, &k, &v, &C, &Bs, &log_alpha, &theta, &lambda}) x->set_requires_grad(true);
  }
  std::vector<std::pair<const char*, at::Tensor>> all() const {
    return {{"q", q},         {"k", k},          {"v", v}, {"C", C}, {"B", Bs}, {"log_alpha", log_alpha},
            {"theta", theta}, {"lambda", lambda}};
  }
  at::Tensor q, k, v, C, Bs, log_alpha, theta, lambda;
  at::Tensor weight;  // of the outputs in a loss
};

at::Tensor augmented(const Inputs& x, const model::Exponents& exponents, const at::Tensor& phase) {
  const model::Augmentation more = model::augment(x.C, x.Bs, exponents, phase, x.lambda, d_head);
  return model::attention(at::cat({x.q, more.query}, -1), at::cat({x.k, more.key}, -1), x.v,
                          shape_of(x.q, scale));
}

at::Tensor augmented(const Inputs& x, const std::string& offset = "causal", int64_t max_segments = 1) {
  return augmented(x, model::decay_exponents(x.log_alpha, offset_of(offset), max_segments),
                   x.theta.cumsum(1));
}

at::Tensor additive(const Inputs& x) {
  const at::Tensor scores = at::einsum("bihn,bjhn->bhij", {x.q, x.k}) * scale +
                            model::state_scores(x.C, x.Bs, x.log_alpha, x.theta, x.lambda);
  const at::Tensor future = at::ones({T, T}, at::kBool).triu(1);
  return at::einsum("bhij,bjhn->bihn",
                    {scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(-1), x.v});
}

TEST(Augmentation, IsTheAdditiveFormInBothDirections) {
  for (const char* offset : {"causal", "minimax"})
    for (const double decay : {0.01, 1.0, 6.0}) {
      const Inputs a(decay), b(decay);
      const at::Tensor ours = augmented(a, offset), direct = additive(b);
      EXPECT_LT(relative_error(ours, direct), 1e-12) << offset << decay;
      (ours * a.weight).sum().backward();
      (direct * b.weight).sum().backward();
      const auto mine = a.all(), theirs = b.all();
      for (size_t i = 0; i < mine.size(); ++i)
        EXPECT_LT(relative_error(mine[i].second.grad(), theirs[i].second.grad()), 1e-10)
            << mine[i].first << " " << offset << decay;
    }
}

// Beyond 120 nats, in segments of their own channels: 4, 12 and 55 of them, some heads needing fewer.
TEST(Augmentation, SegmentsReachAnyDecay) {
  for (const double decay : {30.0, 90.0, 430.0}) {
    const Inputs a(decay), b(decay);
    const model::Exponents exponents = model::decay_exponents(a.log_alpha, offset_of("causal"), 100);
    EXPECT_EQ(exponents.num_limited.sum().item<int64_t>(), 0);
    EXPECT_NEAR(static_cast<double>(exponents.num_segments), decay * T / 2 / 120, 2 + 0.15 * decay * T / 240);
    const at::Tensor ours = augmented(a, exponents, a.theta.cumsum(1)), direct = additive(b);
    EXPECT_LT(relative_error(ours, direct), 1e-12) << decay;
    (ours * a.weight).sum().backward();
    (direct * b.weight).sum().backward();
    const auto mine = a.all(), theirs = b.all();
    for (size_t i = 0; i < mine.size(); ++i)
      EXPECT_LT(relative_error(mine[i].second.grad(), theirs[i].second.grad()), 1e-9)
          << mine[i].first << decay;
  }
  // Too few segments: as far as they reach, then the limit.
  const Inputs x(90);
  const model::Exponents few = model::decay_exponents(x.log_alpha, offset_of("causal"), 3);
  EXPECT_EQ(few.num_segments, 3);
  EXPECT_GT(few.num_limited.min().item<int64_t>(), B * T / 2);
}

TEST(Augmentation, ShiftsOfDecayAndPhaseChangeNothing) {
  const Inputs x;
  const at::Tensor u = model::decay_exponents(x.log_alpha, offset_of("causal")).values,
                   phase = x.theta.cumsum(1);
  const auto with = [&](const at::Tensor& exponent, const at::Tensor& angles) {
    return augmented(x, model::Exponents{.values = exponent}, angles);
  };
  const at::Tensor plain = with(u, phase);
  const at::Tensor shift = at::randn({B, 1, H}, at::kDouble) * 5,
                   turn = at::randn({B, 1, H, d_state / 2}, at::kDouble) * 10;
  EXPECT_LT(relative_error(with(u + shift, phase), plain), 1e-12);
  EXPECT_LT(relative_error(with(u, phase + turn), plain), 1e-12);
  EXPECT_GT(relative_error(with(u * 1.01, phase), plain), 1e-6);  // which a change of speed does
  EXPECT_GT(relative_error(with(u, phase * 1.01), plain), 1e-6);
}

// So the first token's decay and rotation move every token alike, and no loss depends on them.
TEST(Augmentation, TheFirstTokensDecayAndRotationHaveNoGradient) {
  for (const char* offset : {"causal", "minimax"}) {
    const Inputs x;
    (augmented(x, offset) * x.weight).sum().backward();
    for (const at::Tensor& gradient : {x.log_alpha.grad(), x.theta.grad()}) {
      EXPECT_LT(gradient.select(1, 0).abs().max().item<double>(), 1e-12) << offset;
      EXPECT_GT(gradient.select(1, 1).abs().min().item<double>(), 1e-9);
    }
  }
}

TEST(Augmentation, WithoutDecayAndRotationIsBilinear) {
  const Inputs x;
  const model::Augmentation bare = model::augment(x.C, x.Bs, {}, {}, x.lambda, d_head);
  const at::Tensor zero = at::zeros({B, T, H}, at::kDouble),
                   still = at::zeros({B, T, H, d_state / 2}, at::kDouble);
  EXPECT_LT(relative_error(augmented(x, model::Exponents{.values = zero}, still),
                           augmented(x, model::Exponents{}, {})),
            1e-13);
  const at::Tensor scores = at::einsum("bihn,bjhn->bhij", {bare.query, bare.key}) * scale;
  const at::Tensor expected = at::einsum("bihn,bjhn->bhij", {x.C, x.Bs}) * x.lambda.view({1, H, 1, 1});
  EXPECT_LT(relative_error(scores, expected), 1e-13);
}

TEST(Exponents, AreLimitedAndCounted) {
  const Inputs x(20);  // about 310 nats in all
  for (const auto& [offset, limit] : {std::pair{"causal", 60.0}, std::pair{"minimax", 11.0}}) {
    model::DecayOffset o = offset_of(offset);
    o.limit = limit;
    const model::Exponents u = model::decay_exponents(x.log_alpha, o);
    EXPECT_LE(u.values.abs().max().item<double>(), limit);
    EXPECT_EQ(u.values.scalar_type(), at::kDouble);
    const at::Tensor at_limit = u.values.abs().eq(limit).sum(at::IntArrayRef{0, 1});
    EXPECT_TRUE(u.num_limited.equal(at_limit)) << offset;
    EXPECT_GT(u.num_limited.min().item<int64_t>(), B * T / 4);
  }
}

// The published offset is half of what comes at the end: earlier exponents move with it.
TEST(Exponents, OnlyTheCausalOffsetIgnoresLaterTokens) {
  const Inputs x;
  at::Tensor changed = x.log_alpha.detach().clone();
  changed.narrow(1, T - 1, 1).sub_(3);
  for (const auto& [offset, moved] : {std::pair{"causal", 0.0}, std::pair{"minimax", 1.5}}) {
    const at::Tensor before = model::decay_exponents(x.log_alpha.detach(), offset_of(offset)).values,
                     after = model::decay_exponents(changed, offset_of(offset)).values;
    EXPECT_NEAR((after - before).narrow(1, 0, T - 1).abs().max().item<double>(), moved, 1e-12) << offset;
  }
}

}  // namespace
}  // namespace sisa::tests
