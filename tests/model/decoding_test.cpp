// Evaluation at any range of decay, and decoding with a cache, against the direct form and the whole
// sequence.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/mixers/attention_cache.h"
#include "model/operations/attention.h"
#include "model/operations/augmentation.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using common::Precision;
using model::ModelConfig;

constexpr int64_t vocabulary = 61;

at::Tensor tokens(int64_t batch, int64_t length) {
  at::manual_seed(11);
  return at::randint(vocabulary, {batch, length}, at::kLong);
}

// ---- Attention to a cache.

TEST(AttentionToPast, IsTheLastRowsOfTheWhole) {
  at::manual_seed(1);
  for (const auto& [type, tolerance] : {std::pair{at::kDouble, 1e-13}, std::pair{at::kFloat, 2e-6}}) {
    const at::Tensor q = at::randn({2, 301, 3, 22}, type), k = at::randn({2, 301, 3, 22}, type),
                     v = at::randn({2, 301, 3, 16}, type);
    const at::Tensor whole = model::attention(q, k, v, shape_of(q, 0.3));
    for (const int64_t T : {1, 2, 37, 300, 301})
      EXPECT_LT(relative_error(model::attention_to_past(q.narrow(1, 301 - T, T), k, v, shape_of(q, 0.3)),
                               whole.narrow(1, 301 - T, T)),
                tolerance)
          << T;
  }
}

// ---- Segments.

// From exponents and rescaling back to the total decay between tokens: u_i - u_j, where u_j is moved along
// with its key whenever an offset moves.
TEST(Segments, KeepEveryDifferenceOfDecay) {
  const int64_t B = 2, T = 400, H = 3;
  const double c0 = 60;
  at::manual_seed(2);
  for (const double each : {0.1, 0.5, 3.0, 70.0}) {
    // Heads decay at different speeds; now and then a token forgets almost all.
    at::Tensor log_alpha = -at::rand({B, T, H}, at::kDouble) * each;
    log_alpha.select(-1, 1).mul_(0.1);
    log_alpha.select(-1, 2).select(1, 123).fill_(-119);
    at::Tensor last = at::full({B, H}, c0, at::kDouble);
    const model::SegmentedExponents result = model::continue_exponents(log_alpha, c0, last);
    EXPECT_EQ(result.segments.front().begin, 0);
    EXPECT_EQ(result.segments.back().end, T);
    EXPECT_LE(result.values.max().item<double>(), c0);
    EXPECT_GE(result.values.min().item<double>(), -c0);
    EXPECT_TRUE(at::equal(last, result.values.select(1, T - 1)));
    const at::Tensor g = log_alpha.cumsum(1);
    at::Tensor key = result.values.clone();  // u_j as the cache has it
    int64_t end = 0;
    for (const model::Segment& segment : result.segments) {
      EXPECT_EQ(segment.begin, end);
      end = segment.end;
      if (segment.rescale.defined()) {
        EXPECT_LE(segment.rescale.max().item<double>(), 0);
        EXPECT_GE(segment.rescale.min().item<double>(), -2 * c0);
        if (segment.begin > 0) key.narrow(1, 0, segment.begin).sub_(segment.rescale.unsqueeze(1));
      }
      for (const int64_t i : {segment.begin, end - 1}) {
        const at::Tensor actual = result.values.narrow(1, i, 1) - key.narrow(1, 0, i + 1);
        EXPECT_LT((actual - (g.narrow(1, i, 1) - g.narrow(1, 0, i + 1))).abs().max().item<double>(), 1e-9);
      }
    }
    // Three heads of two sequences, each moved at most once in c0 nats.
    const double total = g.narrow(1, T - 1, 1).abs().max().item<double>();
    EXPECT_LE(static_cast<double>(result.segments.size()), 1 + 6 * (total / c0 + 3)) << each;
    if (each == 0.1) {
      EXPECT_EQ(result.segments.size(), 3u);  // at the token that forgets, and when its head goes on
    }
  }
}

TEST(Segments, ATokenThatForgetsAllStaysFinite) {
  at::Tensor last = at::full({1, 1}, 60, at::kDouble);
  at::Tensor log_alpha = at::full({1, 5, 1}, -1, at::kDouble);
  log_alpha[0][2][0] = -1e6;
  const model::SegmentedExponents result = model::continue_exponents(log_alpha, 60, last);
  EXPECT_EQ(result.values[0][2][0].item<double>(), -60);
  EXPECT_EQ(result.values[0][4][0].item<double>(), 58);  // began anew after it
}

// ---- The whole model.

TEST(Evaluation, IsTheDirectFormAtAnyRange) {
  const int64_t B = 2, T = 300, H = 3, d_head = 8, d_state = 6;
  at::manual_seed(4);
  for (const double each : {0.01, 0.4, 5.0, 40.0}) {
    const at::Tensor q = at::randn({B, T, H, d_head}, at::kDouble),
                     k = at::randn({B, T, H, d_head}, at::kDouble),
                     v = at::randn({B, T, H, d_head}, at::kDouble),
                     C = at::randn({B, T, H, d_state}, at::kDouble),
                     Bs = at::randn({B, T, H, d_state}, at::kDouble),
                     log_alpha = -at::rand({B, T, H}, at::kDouble) * each,
                     theta = at::randn({B, T, H, d_state / 2}, at::kDouble),
                     lambda = at::rand({H}, at::kDouble) + 0.1;
    const double scale = 1 / std::sqrt(static_cast<double>(d_head));
    const at::Tensor scores =
        at::einsum("bihn,bjhn->bhij", {q, k}) * scale + model::state_scores(C, Bs, log_alpha, theta, lambda);
    const at::Tensor future = at::ones({T, T}, at::kBool).triu(1);
    const at::Tensor expected =
        at::einsum("bhij,bjhn->bihn",
                   {scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(-1), v});

    at::Tensor last = at::full({B, H}, 60, at::kDouble);
    const model::SegmentedExponents u = model::continue_exponents(log_alpha, 60, last);
    const model::Augmentation more =
        model::augment(C, Bs, model::Exponents{.values = u.values}, theta.cumsum(1), lambda, d_head);
    model::AttentionCache cache(shape_of(q, scale));
    std::vector<at::Tensor> parts;
    for (const model::Segment& s : u.segments) {
      const auto part = [&](const at::Tensor& x) { return x.narrow(1, s.begin, s.end - s.begin); };
      if (s.rescale.defined()) cache.scale_keys(d_head, s.rescale);
      cache.append(part(at::cat({k, more.key}, -1)), part(v));
      parts.push_back(cache.attend(part(at::cat({q, more.query}, -1))));
    }
    EXPECT_LT(relative_error(at::cat(parts, 1), expected), 1e-11)
        << each << ", " << parts.size() << " segments";
  }
}

// One segment resolves 120 nats of decay; several, as far as attention's width allows, that many times more.
// Within its range the training form is the evaluation form.
TEST(Evaluation, IsTheTrainingFormWithinItsRange) {
  for (const double bias : {-2.0, 3.0})  // total decay of 300 tokens: about 40 and 900
    for (const int64_t max_segments : {0, 1}) {
      ModelConfig c = small_config("sisa", bias);
      c.settings["max_segments"] = max_segments;
      BoundModel bound(c, Precision::fp64);
      stir(bound);
      const at::Tensor x = tokens(2, 300);
      bound.model.loss_sum(x, x);
      const int64_t limited = take_limited(bound.model).item<int64_t>();
      const double difference = relative_error(bound.model.logits(x, nullptr, model::Pass::training),
                                               bound.model.logits(x, nullptr, model::Pass::evaluation));
      if (bias > 0 && max_segments == 1) {
        EXPECT_GT(difference, 1e-6);
        EXPECT_GT(limited, 0);
        EXPECT_LT(limited, 2 * 2 * 2 * 300);  // sequences, layers, heads, tokens
      } else {
        EXPECT_LT(difference, 1e-12) << bias << " " << max_segments;
        EXPECT_EQ(limited, 0);
      }
    }
}

TEST(Evaluation, CountsWhatTheTrainingFormLimits) {
  ModelConfig c = small_config("sisa", 3);  // not stirred: every token decays by softplus(3) = 3.0486
  c.settings["max_segments"] = 1;
  BoundModel bound(c, Precision::fp64);
  for (const std::string& name : bound.names())
    if (name.find("alpha_proj.weight") != std::string::npos) bound.value(name).zero_();
  const at::Tensor x = tokens(3, 100);
  bound.model.loss_sum(x, x);
  // 120 / 3.0486 = 39.4: tokens 39 to 99 (from 0, having decayed 40 times and more) are beyond the range.
  EXPECT_EQ(take_limited(bound.model).item<int64_t>(), 3 * 2 * 2 * 61);
  EXPECT_FALSE(take_limited(bound.model).defined());  // taken
  bound.model.loss_sum(x, x);
  bound.model.loss_sum(x, x);
  EXPECT_EQ(take_limited(bound.model).item<int64_t>(), 2 * 3 * 2 * 2 * 61);
}

// Pieces of any length give what the whole gives.
TEST(Decoding, PiecesAreTheWhole) {
  for (const auto& [precision, tolerance] :
       {std::pair{Precision::fp64, 1e-11}, std::pair{Precision::fp32, 2e-5},
        std::pair{Precision::bf16, 3e-2}})
    for (const std::string& system : every_system())
      for (const double bias : {-5.0, 0.0, 4.0}) {
        if (bias != 0 && system != "sisa") continue;
        BoundModel bound(small_config(system, bias), precision);
        stir(bound);
        const at::Tensor x = tokens(2, 260);
        const at::Tensor whole = bound.model.logits(x);
        model::Cache cache = bound.model.make_cache();
        int64_t t = 0;
        for (const int64_t length : {100, 1, 1, 1, 57, 1, 99}) {
          t += length;
          const at::Tensor next = bound.model.next_logits(x.narrow(1, t - length, length), cache);
          EXPECT_LT(relative_error(next, whole.select(1, t - 1)), tolerance) << system << bias << " at " << t;
        }
      }
}

class DecodingOfEverySystem : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Systems, DecodingOfEverySystem, testing::ValuesIn(every_system()),
                         [](const auto& test) { return test.param; });

TEST_P(DecodingOfEverySystem, SequencesOfDifferentLengthsTogether) {
  BoundModel bound(small_config(GetParam(), 1), Precision::fp64);
  stir(bound);
  const at::Tensor x = tokens(3, 150);
  const std::vector<int64_t> lengths = {90, 7, 90};
  model::Cache together = bound.model.make_cache();
  for (int64_t b = 0; b < 3; ++b) {
    model::Cache one = bound.model.make_cache();
    bound.model.next_logits(x[b].narrow(0, 0, lengths[b]).unsqueeze(0), one);
    together.join(one);
  }
  for (int64_t step = 0; step < 40; ++step) {
    std::vector<at::Tensor> next;
    for (int64_t b = 0; b < 3; ++b) next.push_back(x[b].narrow(0, lengths[b] + step, 1).unsqueeze(0));
    const at::Tensor logits = bound.model.next_logits(at::cat(next), together);
    for (int64_t b = 0; b < 3; ++b) {
      const int64_t length = lengths[b] + step + 1;
      const at::Tensor whole = bound.model.logits(x[b].narrow(0, 0, length).unsqueeze(0))[0][-1];
      EXPECT_LT(relative_error(logits[b], whole), 1e-11) << b << " after " << length;
    }
  }
}

TEST(Decoding, ThePublishedOffsetCannotContinue) {
  ModelConfig c = small_config("sisa", -2);
  c.settings["offset"] = "minimax";
  EXPECT_FALSE(BoundModel(c, Precision::fp32).model.can_continue());
  c.settings["decay"] = "none";
  EXPECT_TRUE(BoundModel(c, Precision::fp32).model.can_continue());
}

}  // namespace
}  // namespace sisa::tests
