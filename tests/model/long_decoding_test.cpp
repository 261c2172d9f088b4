// Decoding far beyond any training length, by every system's own cache.
#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

class LongDecoding : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Systems, LongDecoding, testing::ValuesIn(every_system()),
                         [](const auto& test) { return test.param; });

// 20,000 tokens; sisa's, at about 1 nat each: the training form would resolve 120 of them.
TEST_P(LongDecoding, PrefillAndStepsEqualTheFullForwardOver20000Tokens) {
  const int64_t length = 20'000, prefill = 19'000;
  BoundModel bound(small_config(GetParam(), 0.5), common::Precision::fp64);
  stir(bound);
  at::manual_seed(11);
  const at::Tensor x = at::randint(61, {1, length}, at::kLong);
  const at::Tensor whole = bound.model.logits(x)[0];
  model::Cache cache = bound.model.make_cache();
  double worst =
      relative_error(bound.model.next_logits(x.narrow(1, 0, prefill), cache)[0], whole[prefill - 1]);
  for (int64_t t = prefill; t < length; ++t)
    worst = std::max(worst, relative_error(bound.model.next_logits(x.narrow(1, t, 1), cache)[0], whole[t]));
  EXPECT_LT(worst, 1e-10);
  RecordProperty("worst_error", fmt::format("{:.1e}", worst));
}

}  // namespace
}  // namespace sisa::tests
