// What the attention core does with scores and types that it cannot represent; twins_test.cpp has the rest.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/error.h"
#include "model/operations/attention.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

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
  const at::Tensor output = model::attention(q, k, at::randn({1, T, 1, 8}), shape_of(q, 1));
  EXPECT_TRUE(output.isfinite().all().item<bool>());
}

// Not a GPU's tensors, but like them not the CPU's: the choice of an implementation needs no memory.
TEST(Attention, RefusesFp64OffTheCpu) {
  const at::Tensor x = at::empty({1, 2, 1, 8}, at::device(at::kMeta).dtype(at::kDouble));
  try {
    model::attention(x, x, x, shape_of(x, 1));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("Double"), testing::HasSubstr("run.precision")));
  }
}

}  // namespace
}  // namespace sisa::tests
