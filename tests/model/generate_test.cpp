#include "model/generate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/random.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using model::choose_token;
using model::GenerateOptions;

at::Tensor logits() {
  return at::tensor({0.0, 2.0, 1.0, 2.0});
}  // probabilities .055, .403, .148, .403 or so

TEST(Generate, GreedyTakesTheFirstOfTheLikeliest) {
  EXPECT_EQ(choose_token(logits(), {.greedy = true}, 0.99), 1);
}

TEST(Generate, FrequenciesAreProbabilities) {
  const common::RandomStream stream(1, 2);
  const GenerateOptions options{.temperature = 0.7};
  const at::Tensor expected = (logits() / 0.7).softmax(0);
  std::vector<double> counts(4);
  constexpr int draws = 20000;
  for (int i = 0; i < draws; ++i)
    counts[static_cast<size_t>(choose_token(logits(), options, stream.uniforms(i)[0]))] += 1.0 / draws;
  for (int64_t i = 0; i < 4; ++i)
    EXPECT_NEAR(counts[static_cast<size_t>(i)], expected[i].item<double>(), 0.015);
}

TEST(Generate, TopKAndTopPKeepTheLikeliest) {
  for (const double draw : {0.001, 0.3, 0.6, 0.999}) {
    EXPECT_EQ(choose_token(logits(), {.top_k = 1}, draw), 1);
    EXPECT_NE(choose_token(logits(), {.top_k = 3}, draw), 0);
    EXPECT_EQ(choose_token(logits(), {.top_p = 0.3}, draw), 1);  // the first alone reaches it
    EXPECT_THAT(choose_token(logits(), {.top_p = 0.5}, draw), testing::AnyOf(1, 3));
  }
  EXPECT_EQ(choose_token(logits(), {}, 0.9999), 0);
}

TEST(Generate, RefusesOptionsOutOfRange) {
  for (const GenerateOptions& wrong : {GenerateOptions{.max_tokens = 0}, GenerateOptions{.temperature = 0},
                                       GenerateOptions{.temperature = -1}, GenerateOptions{.top_k = -1},
                                       GenerateOptions{.top_p = 0}, GenerateOptions{.top_p = 1.5}})
    EXPECT_THROW(model::validate(wrong), Error);
}

TEST(Generate, ContinuesWithItsOwnTokensAndStops) {
  model::ModelConfig c;
  c.vocab_size = 17;
  c.d_model = 8;
  c.num_heads = 2;
  c.num_layers = 1;
  c.d_ff = 8;
  c.d_state = 2;
  BoundModel bound(c, common::Precision::fp32);
  GenerateOptions options{.max_tokens = 12, .seed = 5, .context_length = 4};
  std::vector<int64_t> first, second;
  model::generate(bound.model, {1, 2, 3}, options, at::kCPU, [&](int64_t t) { first.push_back(t); });
  model::generate(bound.model, {1, 2, 3}, options, at::kCPU, [&](int64_t t) { second.push_back(t); });
  EXPECT_EQ(first.size(), 12u);
  EXPECT_EQ(first, second);
  options.stop_token = first[3];
  std::vector<int64_t> stopped;
  model::generate(bound.model, {1, 2, 3}, options, at::kCPU, [&](int64_t t) { stopped.push_back(t); });
  EXPECT_LE(stopped.size(), 3u);
}

}  // namespace
}  // namespace sisa::tests
