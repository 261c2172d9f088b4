#include "model/generate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

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

model::ModelConfig tiny(const std::string& offset) {
  model::ModelConfig c;
  c.vocab_size = 17;
  c.d_model = 8;
  c.settings["num_heads"] = 2;
  c.num_layers = 2;
  c.d_ff = 8;
  c.settings["d_state"] = 2;
  c.settings["offset"] = offset;
  c.settings["alpha_bias"] = 1;
  return c;
}

using Tokens = std::vector<int64_t>;

std::vector<Tokens> continued(BoundModel& bound, const std::vector<Tokens>& prompts,
                              const GenerateOptions& options) {
  std::vector<Tokens> texts(prompts.size());
  model::generate(bound.model, prompts, options, at::kCPU,
                  [&](size_t prompt, int64_t token) { texts[prompt].push_back(token); });
  return texts;
}

// The published offset has no cache; both ways must do the same.
class GenerateFrom : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Offsets, GenerateFrom, testing::Values("causal", "minimax"));

TEST_P(GenerateFrom, APromptAndItsOwnTokensUntilTheStop) {
  BoundModel bound(tiny(GetParam()), common::Precision::fp64);
  for (const std::string& name : bound.names()) bound.value(name).mul_(10);
  GenerateOptions options{.max_tokens = 12, .seed = 5};
  const Tokens text = continued(bound, {{1, 2, 3}}, options)[0];
  EXPECT_EQ(text.size(), 12u);
  EXPECT_EQ(continued(bound, {{1, 2, 3}}, options)[0], text);
  options.seed = 6;
  EXPECT_NE(continued(bound, {{1, 2, 3}}, options)[0], text);
  options = {.max_tokens = 12, .greedy = true};
  const Tokens greedy = continued(bound, {{1, 2, 3}}, options)[0];
  Tokens whole = {1, 2, 3};
  for (const int64_t token : greedy) {  // each the likeliest after the whole text before it
    const at::Tensor logits = bound.model.logits(at::tensor(whole, at::kLong).unsqueeze(0))[0][-1];
    EXPECT_EQ(token, logits.argmax().item<int64_t>());
    whole.push_back(token);
  }
  options = {.max_tokens = 12, .seed = 5, .stop_token = text[5]};
  const auto first = std::find(text.begin(), text.end(), text[5]);
  EXPECT_EQ(continued(bound, {{1, 2, 3}}, options)[0], Tokens(text.begin(), first));
}

TEST_P(GenerateFrom, IdsBeyondTheTokenizersAreNeverDrawn) {
  BoundModel bound(tiny(GetParam()), common::Precision::fp64);
  for (const std::string& name : bound.names()) bound.value(name).mul_(10);
  const auto largest = [&](const GenerateOptions& options) {
    int64_t found = 0;
    for (const Tokens& text : continued(bound, {{1}, {2}, {3}, {4}}, options))
      found = std::max(found, *std::max_element(text.begin(), text.end()));
    return found;
  };
  EXPECT_EQ(largest({.max_tokens = 30}), 16);
  EXPECT_EQ(largest({.max_tokens = 30, .vocab_size = 5}), 4);
  EXPECT_LE(largest({.max_tokens = 30, .greedy = true, .vocab_size = 5}), 4);
  EXPECT_EQ(largest({.max_tokens = 30, .vocab_size = 50}), 16);
}

TEST_P(GenerateFrom, SeveralPromptsAtOnceAsFromEachAlone) {
  BoundModel bound(tiny(GetParam()), common::Precision::fp64);
  for (const std::string& name : bound.names()) bound.value(name).mul_(10);
  const std::vector<Tokens> prompts = {{1, 2, 3}, {4}, {5, 6, 7, 8, 9, 10, 11}, {1, 2, 3}};
  GenerateOptions options{.max_tokens = 30, .temperature = 0.8, .top_p = 0.95, .seed = 40};
  options.stop_token = continued(bound, prompts, options)[1][7];  // so that some end early
  const std::vector<Tokens> together = continued(bound, prompts, options);
  EXPECT_NE(together[0], together[3]);  // another seed
  EXPECT_LE(together[1].size(), 7u);
  for (size_t p = 0; p < prompts.size(); ++p) {
    options.seed = 40 + p;
    EXPECT_EQ(continued(bound, {prompts[p]}, options)[0], together[p]) << p;
  }
}

}  // namespace
}  // namespace sisa::tests
