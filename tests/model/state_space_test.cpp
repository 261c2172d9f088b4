// The scan in chunks against its recurrence, token by token, and the convolution against its sum.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <vector>

#include "model/operations/state_space.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using model::Scan;

// y of the recurrence, and the last state.
std::pair<at::Tensor, at::Tensor> recurrence(const Scan& in) {
  const int64_t T = in.x.size(1);
  at::Tensor S = at::zeros({in.x.size(0), in.x.size(2), in.x.size(3), in.key.size(3)}, in.x.options());
  std::vector<at::Tensor> outputs;
  for (int64_t t = 0; t < T; ++t) {
    const auto at_t = [&](const at::Tensor& all) { return all.select(1, t); };
    const auto spread = [](const at::Tensor& all) { return all.unsqueeze(-1).unsqueeze(-1); };
    const at::Tensor outer = at_t(in.x).unsqueeze(-1) * at_t(in.key).unsqueeze(-2);
    const at::Tensor kept = S * spread(at_t(in.log_decay).exp());
    S = kept + spread(at_t(in.weight)) * outer;
    const at::Tensor seen = in.own.defined() ? kept + spread(at_t(in.own)) * outer : S;
    outputs.push_back((seen * at_t(in.query).unsqueeze(-2)).sum(-1));
  }
  return {at::stack(outputs, 1), S};
}

// Leaves; `groups` of keys and queries: 1, or the heads' number.
Scan random_scan(int64_t T, int64_t groups, bool has_own, double decay) {
  constexpr int64_t B = 2, h = 3, P = 5, N = 4;
  const auto leaf = [](const at::Tensor& x) { return x.clone().set_requires_grad(true); };
  const auto numbers = [&](std::vector<int64_t> shape) { return leaf(at::randn(shape, at::kDouble)); };
  return {.x = numbers({B, T, h, P}),
          .log_decay = leaf(-at::rand({B, T, h}, at::kDouble) * decay),
          .key = numbers({B, T, groups, N}),
          .query = numbers({B, T, groups, N}),
          .weight = numbers({B, T, h}),
          .own = has_own ? numbers({B, T, h}) : at::Tensor()};
}

std::vector<at::Tensor> leaves(const Scan& in) {
  std::vector<at::Tensor> all = {in.x, in.log_decay, in.key, in.query, in.weight};
  if (in.own.defined()) all.push_back(in.own);
  return all;
}

std::vector<at::Tensor> gradients(const Scan& in, const at::Tensor& y, const at::Tensor& of_y) {
  for (const at::Tensor& leaf : leaves(in)) leaf.mutable_grad() = at::Tensor();
  (y * of_y).sum().backward();
  std::vector<at::Tensor> all;
  for (const at::Tensor& leaf : leaves(in))  // of one token alone the weight for later ones has none
    all.push_back(leaf.grad().defined() ? leaf.grad().clone() : at::zeros_like(leaf));
  return all;
}

TEST(StateSpaceScan, IsTheRecurrenceWhateverTheChunks) {
  at::manual_seed(1);
  for (const int64_t T : {1, 16, 37, 300})
    for (const int64_t groups : {1, 3})
      for (const bool has_own : {false, true}) {
        const Scan in = random_scan(T, groups, has_own, 0.3);
        const auto [y, state] = recurrence(in);
        const at::Tensor of_y = at::randn(y.sizes(), at::kDouble);
        const std::vector<at::Tensor> expected = gradients(in, y, of_y);
        for (const int64_t length : {1, 16, 64, 256}) {
          SCOPED_TRACE(
              fmt::format("{} tokens in chunks of {}, {} groups, own {}", T, length, groups, has_own));
          Scan chunked = in;
          chunked.chunk_length = length;
          at::Tensor last;
          const at::Tensor found = model::scan(chunked, &last);
          EXPECT_LT(relative_error(found, y), 1e-13);
          EXPECT_LT(relative_error(last, state), 1e-13);
          const std::vector<at::Tensor> of_leaves = gradients(chunked, model::scan(chunked, nullptr), of_y);
          for (size_t i = 0; i < expected.size(); ++i)
            EXPECT_LT(relative_error(of_leaves[i], expected[i]), 1e-12) << "input " << i;
        }
      }
}

TEST(StateSpaceScan, PiecesAreTheWhole) {
  at::manual_seed(2);
  const Scan in = random_scan(150, 1, true, 0.3);
  const at::Tensor whole = model::scan(in, nullptr);
  at::Tensor state;
  std::vector<at::Tensor> parts;
  int64_t t = 0;
  for (const int64_t length : {1, 70, 1, 64, 14}) {
    const auto part = [&](const at::Tensor& all) { return all.narrow(1, t, length); };
    parts.push_back(model::scan({.x = part(in.x),
                                 .log_decay = part(in.log_decay),
                                 .key = part(in.key),
                                 .query = part(in.query),
                                 .weight = part(in.weight),
                                 .own = part(in.own)},
                                &state));
    t += length;
  }
  EXPECT_LT(relative_error(at::cat(parts, 1), whole), 1e-13);
}

// What a later token holds does not move an earlier output by a bit, in whatever chunks.
TEST(StateSpaceScan, NoOutputDependsOnLaterTokens) {
  at::manual_seed(3);
  for (const int64_t length : {4, 16, 64}) {
    Scan in = random_scan(60, 3, true, 0.3), changed = random_scan(60, 3, true, 30);
    in.chunk_length = changed.chunk_length = length;
    constexpr int64_t t = 35;
    // The weight of the last token before the change depends on the next one, as Mamba-3 has it.
    const auto join = [&](at::Tensor& ours, const at::Tensor& earlier, int64_t from) {
      ours = at::cat({earlier.narrow(1, 0, from), ours.narrow(1, from, 60 - from)}, 1);
    };
    join(changed.x, in.x, t);
    join(changed.log_decay, in.log_decay, t);
    join(changed.key, in.key, t);
    join(changed.query, in.query, t);
    join(changed.weight, in.weight, t - 1);
    join(changed.own, in.own, t);
    const at::Tensor a = model::scan(in, nullptr), b = model::scan(changed, nullptr);
    EXPECT_TRUE(at::equal(a.narrow(1, 0, t), b.narrow(1, 0, t))) << length;
    EXPECT_FALSE(at::equal(a.narrow(1, t, 1), b.narrow(1, t, 1)));
  }
}

// 400 nats within a chunk, one token of 390 amid small ones, and a token that forgets all.
TEST(StateSpaceScan, AnyDecayIsExactInFp32) {
  at::manual_seed(4);
  for (const double each : {0.0, 0.1, 6.25, 400.0, 1e5}) {
    Scan in = random_scan(150, 1, false, 0);
    const at::Tensor decay = at::full_like(in.log_decay, -each);
    if (each < 6) decay.select(1, 70).fill_(-390);
    in.log_decay = decay.set_requires_grad(true);
    const at::Tensor y = recurrence(in).first, of_y = at::randn(y.sizes(), at::kDouble);
    const std::vector<at::Tensor> expected = gradients(in, y, of_y);
    Scan narrow = in;
    for (at::Tensor* x : {&narrow.x, &narrow.log_decay, &narrow.key, &narrow.query, &narrow.weight})
      *x = x->detach().to(at::kFloat).set_requires_grad(true);
    const at::Tensor found = model::scan(narrow, nullptr);
    EXPECT_LT(relative_error(found, y), 1e-5) << each;
    const std::vector<at::Tensor> of_leaves = gradients(narrow, found, of_y.to(at::kFloat));
    for (size_t i = 0; i < expected.size(); ++i) {
      if (i == 1 && each >= 6) {  // next to nothing is left for the decays to change
        EXPECT_TRUE(of_leaves[i].isfinite().all().item<bool>());
        continue;
      }
      EXPECT_LT(relative_error(of_leaves[i], expected[i]), 2e-5) << "input " << i << " at " << each;
    }
    if (each >= 400) {  // without memory
      EXPECT_LT(relative_error(y, (in.query * in.key).sum(-1, true) * in.weight.unsqueeze(-1) * in.x), 1e-12);
    }
  }
}

TEST(CausalConvolution, IsTheSumOverItsTaps) {
  at::manual_seed(5);
  const at::Tensor x = at::randn({2, 9, 3}, at::kDouble), weight = at::randn({3, 4}, at::kDouble),
                   bias = at::randn({3}, at::kDouble), expected = at::zeros_like(x);
  for (int64_t t = 0; t < 9; ++t) {
    expected.select(1, t).copy_(bias.expand({2, 3}));
    for (int64_t i = 0; i < 4; ++i)
      if (t - 3 + i >= 0) expected.select(1, t).add_(x.select(1, t - 3 + i) * weight.select(1, i));
  }
  EXPECT_LT(relative_error(model::causal_convolution(x, weight, bias, nullptr), expected), 1e-14);
  at::Tensor before;
  std::vector<at::Tensor> parts;
  int64_t t = 0;
  for (const int64_t length : {1, 1, 5, 2}) {
    parts.push_back(model::causal_convolution(x.narrow(1, t, length), weight, bias, &before));
    t += length;
  }
  EXPECT_LT(relative_error(at::cat(parts, 1), expected), 1e-14);
}

}  // namespace
}  // namespace sisa::tests
