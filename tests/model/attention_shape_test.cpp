// Attention of every geometry against softmax written out: shared key heads, windows, prefixes; whole, in pieces
// and from a cache that forgets.
#include "model/operations/attention_shape.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "model/mixers/attention_cache.h"
#include "model/operations/attention.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using model::AttentionShape;

struct Inputs {
  explicit Inputs(const AttentionShape& s, int64_t B, int64_t T)
      : query(at::randn({B, T, s.num_heads, s.d_head}, at::kDouble)),
        key(at::randn({B, T, s.num_kv_heads, s.d_head}, at::kDouble)),
        value(at::randn({B, T, s.num_kv_heads, s.d_value}, at::kDouble)) {
    for (at::Tensor* x : {&query, &key, &value}) x->set_requires_grad(true);
  }
  at::Tensor query, key, value;
};

// By the definition, with every score there is.
at::Tensor written_out(const Inputs& x, const AttentionShape& s) {
  const int64_t T = x.query.size(1), times = s.num_heads / s.num_kv_heads;
  const auto heads = [&](const at::Tensor& all, int64_t repeats) {  // (B, H, T, d)
    return all.repeat_interleave(repeats, 2).transpose(1, 2);
  };
  const at::Tensor i = at::arange(T).unsqueeze(1), j = at::arange(T).unsqueeze(0);
  at::Tensor sees = j.le(i);
  if (s.window > 0) sees = sees.logical_and(j.gt(i - s.window).logical_or(j.lt(s.prefix)));
  const at::Tensor scores = (heads(x.query, 1).matmul(heads(x.key, times).transpose(2, 3)) * s.scale)
                                .masked_fill(sees.logical_not(), -INFINITY);
  return scores.softmax(-1).matmul(heads(x.value, times)).transpose(1, 2);
}

std::vector<AttentionShape> shapes() {
  const AttentionShape base{
      .num_heads = 4, .num_kv_heads = 4, .d_head = 6, .d_value = 6, .scale = 1 / std::sqrt(6.0)};
  std::vector<AttentionShape> all(7, base);
  all[1].num_kv_heads = 2;
  all[2].num_kv_heads = 1;
  all[2].d_value = 4;
  all[3].window = 9;
  all[4].window = 9, all[4].prefix = 3;
  all[5].window = 1, all[5].num_kv_heads = 2;
  all[6].window = 1000, all[6].prefix = 2;  // wider than the sequences below
  return all;
}

TEST(AttentionShape, IsSoftmaxWrittenOut) {
  at::manual_seed(1);
  for (const AttentionShape& s : shapes())
    for (const int64_t T : {1, 5, 37, 300}) {  // the last is longer than a block of queries
      SCOPED_TRACE(testing::Message() << "window " << s.window << " prefix " << s.prefix << " T " << T);
      const Inputs x(s, 2, T);
      const at::Tensor ours = model::attention(x.query, x.key, x.value, s), expected = written_out(x, s);
      EXPECT_LT(relative_error(ours, expected), 1e-13);
      const at::Tensor weight = at::randn(expected.sizes(), at::kDouble);
      (ours * weight).sum().backward();
      std::vector<at::Tensor> gradients;
      for (const at::Tensor* input : {&x.query, &x.key, &x.value}) {
        gradients.push_back(input->grad().clone());
        input->mutable_grad().zero_();
      }
      (expected * weight).sum().backward();
      // Absolute: of a query that sees one key, the gradient is 0.
      const auto difference = [](const at::Tensor& a, const at::Tensor& b) {
        return (a - b).abs().max().item<double>();
      };
      EXPECT_LT(difference(gradients[0], x.query.grad()), 1e-12);
      EXPECT_LT(difference(gradients[1], x.key.grad()), 1e-12);
      EXPECT_LT(difference(gradients[2], x.value.grad()), 1e-12);
    }
}

// However a sequence is cut, and whatever the cache has forgotten, outputs are those of the whole sequence.
TEST(AttentionShape, ACacheForgetsOnlyWhatNoQuerySees) {
  at::manual_seed(2);
  const at::NoGradGuard no_graph;
  for (const AttentionShape& s : shapes())
    for (const std::vector<int64_t>& pieces :
         {std::vector<int64_t>{1, 2, 60, 1, 1, 200, 35}, std::vector<int64_t>(300, 1)}) {
      SCOPED_TRACE(testing::Message()
                   << "window " << s.window << " prefix " << s.prefix << " pieces " << pieces.size());
      const Inputs x(s, 2, 300);
      model::AttentionCache cache(s);
      std::vector<at::Tensor> outputs;
      int64_t t = 0;
      for (const int64_t T : pieces) {
        const auto part = [&](const at::Tensor& all) { return all.narrow(1, t, T); };
        cache.append(part(x.key), part(x.value));
        outputs.push_back(cache.attend(part(x.query)));
        t += T;
      }
      EXPECT_EQ(cache.length(1), 300);
      EXPECT_LT(relative_error(at::cat(outputs, 1), written_out(x, s)), 1e-13);
      if (s.window > 0 && s.window < 100 && pieces.size() == 300) {
        EXPECT_LT(cache.num_held(), s.prefix + 4 * s.window + 32);  // and not 300
      }
    }
}

// Sequences of different lengths in one cache, which have forgotten differently.
TEST(AttentionShape, JoinedCachesGoOnAsEachAlone) {
  at::manual_seed(3);
  const at::NoGradGuard no_graph;
  const AttentionShape s = shapes()[4];
  const std::vector<int64_t> lengths = {70, 4, 70};
  const int64_t more = 25;
  std::vector<Inputs> sequences;
  model::AttentionCache together(s);
  for (const int64_t length : lengths) {
    const Inputs& x = sequences.emplace_back(s, 1, length + more);
    model::AttentionCache one(s);
    for (int64_t t = 0; t < length; ++t) one.append(x.key.narrow(1, t, 1), x.value.narrow(1, t, 1));
    together.join(one);
  }
  for (int64_t t = 0; t < more; ++t) {
    const auto next = [&](at::Tensor Inputs::*which) {
      std::vector<at::Tensor> rows;
      for (size_t b = 0; b < lengths.size(); ++b)
        rows.push_back((sequences[b].*which).narrow(1, lengths[b] + t, 1));
      return at::cat(rows);
    };
    together.append(next(&Inputs::key), next(&Inputs::value));
    const at::Tensor output = together.attend(next(&Inputs::query));
    for (size_t b = 0; b < lengths.size(); ++b) {
      const at::Tensor expected = written_out(sequences[b], s).narrow(1, lengths[b] + t, 1);
      EXPECT_LT(relative_error(output.narrow(0, static_cast<int64_t>(b), 1), expected), 1e-13)
          << b << " " << t;
    }
  }
}

TEST(AttentionShape, CountsWhatAQuerySees) {
  const int64_t T = 300;
  for (const AttentionShape& s : shapes()) {
    double seen = 0;
    for (int64_t i = 0; i < T; ++i)
      for (int64_t j = 0; j <= i; ++j) seen += s.window == 0 || j > i - s.window || j < s.prefix;
    EXPECT_DOUBLE_EQ(s.mean_seen(T), seen / static_cast<double>(T)) << s.window << " " << s.prefix;
  }
  EXPECT_EQ(shapes()[0].num_kept(T), T);
  EXPECT_EQ(shapes()[4].num_kept(T), 3 + 9);
  EXPECT_EQ(shapes()[6].num_kept(T), T);
}

}  // namespace
}  // namespace sisa::tests
