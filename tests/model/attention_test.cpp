// The attention core and the functions around parameters, against their plain formulas.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "model/attention.h"
#include "model/functional.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const at::Tensor scores = at::einsum("bihn,bjhn->bhij", {q, k}) * scale;
  const at::Tensor future = at::ones(scores.sizes().slice(2), at::kBool).triu(1);
  return at::einsum("bhij,bjhn->bihn",
                    {scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(-1), v});
}

TEST(Attention, IsCausalSoftmaxInBothDirections) {
  struct Size {
    int64_t B, T, H, d_qk, d_v;
  };
  at::manual_seed(1);
  for (const auto& [B, T, H, d_qk, d_v] :
       {Size{1, 1, 1, 4, 4}, Size{2, 2, 3, 6, 4}, Size{3, 37, 2, 22, 16}, Size{1, 129, 5, 80, 64}}) {
    std::vector<at::Tensor> a = {at::randn({B, T, H, d_qk}, at::kDouble),
                                 at::randn({B, T, H, d_qk}, at::kDouble),
                                 at::randn({B, T, H, d_v}, at::kDouble)};
    std::vector<at::Tensor> b;
    for (at::Tensor& x : a) b.push_back(x.clone().set_requires_grad(true)), x.set_requires_grad(true);
    const at::Tensor weight = at::randn({B, T, H, d_v}, at::kDouble);
    const at::Tensor fused = model::attention(a[0], a[1], a[2], 0.3),
                     plain = plain_attention(b[0], b[1], b[2], 0.3);
    EXPECT_LT(relative_error(fused, plain), 1e-12);
    (fused * weight).sum().backward();
    (plain * weight).sum().backward();
    for (size_t i = 0; i < 3; ++i)
      EXPECT_LT((a[i].grad() - b[i].grad()).abs().max().item<double>(), 1e-11) << "T " << T << " input " << i;
  }
}

TEST(Attention, InfiniteMaskedScoresDoNoHarm) {
  // Queries grow and keys shrink along the sequence: the scores of the masked triangle overflow fp32, the
  // others do not.
  const int64_t T = 48;
  at::Tensor q = at::ones({1, T, 1, 8}), k = at::ones({1, T, 1, 8});
  for (int64_t t = 0; t < T; ++t) {
    q.select(1, t).mul_(std::exp(80.0 - 160.0 * static_cast<double>(t) / T));
    k.select(1, t).mul_(std::exp(-80.0 + 160.0 * static_cast<double>(t) / T));
  }
  at::manual_seed(2);
  const at::Tensor output = model::attention(q, k, at::randn({1, T, 1, 8}), 1);
  EXPECT_TRUE(output.isfinite().all().item<bool>());
}

// Not a GPU's tensors, but like them not the CPU's: the choice of an implementation needs no memory.
TEST(Attention, RefusesFp64OffTheCpu) {
  const at::Tensor x = at::empty({1, 2, 1, 8}, at::device(at::kMeta).dtype(at::kDouble));
  try {
    model::attention(x, x, x, 1);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("Double"), testing::HasSubstr("run.precision")));
  }
}

TEST(Functional, LinearUsesTheRowsAskedFor) {
  at::manual_seed(3);
  common::Parameter p{.name = "p", .bucket = "b", .rows = 10, .columns = 6};
  p.value = at::randn({10, 6}, at::kDouble).set_requires_grad(true);
  p.gradient = at::zeros({10, 6}, at::kDouble);
  const at::Tensor x = at::randn({2, 3, 6}, at::kDouble).set_requires_grad(true),
                   weight = at::randn({2, 3, 4}, at::kDouble);
  const at::Tensor y = model::linear(x, p, 5, 4, at::kDouble);
  const at::Tensor rows = p.value.detach().narrow(0, 5, 4);
  EXPECT_LT(relative_error(y, x.detach().matmul(rows.t())), 1e-14);
  (y * weight).sum().backward();
  EXPECT_LT(relative_error(x.grad(), weight.matmul(rows)), 1e-13);
  EXPECT_LT(relative_error(p.gradient.narrow(0, 5, 4), weight.view({6, 4}).t().mm(x.detach().view({6, 6}))),
            1e-13);
  EXPECT_EQ(p.gradient.narrow(0, 0, 5).abs().max().item<double>() + p.gradient[9].abs().max().item<double>(),
            0);
  EXPECT_FALSE(p.value.grad().defined());  // it went straight into the buffer
}

TEST(Functional, EmbeddingAddsUpRepeatedIds) {
  common::Parameter p{.name = "p", .bucket = "b", .rows = 4, .columns = 2};
  p.value = at::randn({4, 2}, at::kDouble).set_requires_grad(true);
  p.gradient = at::zeros({4, 2}, at::kDouble);
  const at::Tensor ids = at::zeros({1, 5}, at::kLong);
  model::embedding(ids, p).sum().backward();
  EXPECT_EQ(p.gradient[0][0].item<double>(), 5);
  EXPECT_EQ(p.gradient.narrow(0, 1, 3).abs().max().item<double>(), 0);
}

TEST(Functional, CrossEntropyMasksThePadding) {
  at::manual_seed(4);
  const int64_t N = 300, d = 8, vocabulary = 61, physical = 64;
  common::Parameter p{.name = "p", .bucket = "b", .rows = physical, .columns = d};
  p.value =
      at::randn({physical, d}, at::kDouble);  // rows beyond the vocabulary would matter, were they not masked
  p.value.set_requires_grad(true);
  p.gradient = at::zeros({physical, d}, at::kDouble);
  const at::Tensor hidden = at::randn({N, d}, at::kDouble).set_requires_grad(true),
                   targets = at::randint(vocabulary, {N}, at::kLong);
  const at::Tensor sum = model::cross_entropy_sum(hidden, p, vocabulary, targets, at::kDouble);
  const at::Tensor h = hidden.detach().clone().set_requires_grad(true),
                   e = p.value.detach().narrow(0, 0, vocabulary).clone().set_requires_grad(true);
  const at::Tensor plain = at::cross_entropy_loss(h.mm(e.t()), targets) * N;
  EXPECT_LT(relative_error(sum, plain), 1e-13);
  EXPECT_LT(relative_error(model::cross_entropies(hidden.detach(), p, vocabulary, targets, at::kDouble).sum(),
                           plain),
            1e-13);
  sum.backward();
  plain.backward();
  EXPECT_LT(relative_error(hidden.grad(), h.grad()), 1e-12);
  EXPECT_LT(relative_error(p.gradient.narrow(0, 0, vocabulary), e.grad()), 1e-12);
  EXPECT_EQ(p.gradient.narrow(0, vocabulary, physical - vocabulary).abs().max().item<double>(), 0);
}

// More rows than one part of the loss takes (at most 16,384), the last part being short.
TEST(Functional, CrossEntropyInPartsIsThatOfAllRows) {
  at::manual_seed(5);
  const int64_t N = 40'000, d = 4, vocabulary = 61, physical = 64;
  common::Parameter p{.name = "p", .bucket = "b", .rows = physical, .columns = d};
  p.value = at::randn({physical, d}, at::kDouble).set_requires_grad(true);
  p.gradient = at::zeros({physical, d}, at::kDouble);
  const at::Tensor hidden = at::randn({N, d}, at::kDouble).set_requires_grad(true),
                   targets = at::randint(vocabulary, {N}, at::kLong);
  const at::Tensor h = hidden.detach().clone().set_requires_grad(true),
                   e = p.value.detach().narrow(0, 0, vocabulary).clone().set_requires_grad(true);
  const at::Tensor sum = model::cross_entropy_sum(hidden, p, vocabulary, targets, at::kDouble),
                   each = model::cross_entropies(hidden.detach(), p, vocabulary, targets, at::kDouble),
                   plain = at::cross_entropy_loss(h.mm(e.t()), targets) * N;
  EXPECT_EQ(each.size(0), N);
  EXPECT_LT(relative_error(sum, plain), 1e-12);
  EXPECT_LT(relative_error(each.sum(), plain), 1e-12);
  (sum * 0.25).backward();
  (plain * 0.25).backward();
  EXPECT_LT(relative_error(hidden.grad(), h.grad()), 1e-12);
  EXPECT_LT(relative_error(p.gradient.narrow(0, 0, vocabulary), e.grad()), 1e-12);
}

}  // namespace
}  // namespace sisa::tests
