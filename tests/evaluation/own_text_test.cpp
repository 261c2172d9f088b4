#include "evaluation/scorers/own_text.h"

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/evaluation/small_model.h"

namespace sisa::tests {
namespace {

using evaluation::OwnText;
using evaluation::Sums;

constexpr int64_t length = 8;

OwnText text_of(int64_t size) {
  OwnText text{.name = "own", .bytes = 100};
  for (int64_t i = 0; i < size; ++i) text.tokens.push_back(i * i * 7 % 31);
  return text;
}

// Nats of the tokens [first, last) after tokens[first - 1], by the logits of the whole window.
std::vector<double> nats_of_window(model::LanguageModel& model, const OwnText& text, int64_t first,
                                   int64_t last) {
  const std::vector<int64_t> inputs(text.tokens.begin() + first - 1, text.tokens.begin() + last - 1);
  const at::Tensor logs =
      at::log_softmax(model.logits(at::tensor(inputs, at::kLong).unsqueeze(0))[0], /*dim=*/-1);
  std::vector<double> nats;
  for (int64_t i = first; i < last; ++i)
    nats.push_back(-logs[i - first][text.tokens[static_cast<size_t>(i)]].item<double>());
  return nats;
}

TEST(OwnText, EveryTokenButTheFirstCountsOnce) {
  BoundModel bound = small_model(31);
  for (const int64_t size : {2, 8, 9, 10, 30}) {
    const OwnText text = text_of(size);
    const auto scorer = evaluation::make_own_text(text, bound.model, at::kCPU, /*micro_batch=*/2, length);
    EXPECT_EQ(scorer->size(), (size - 1 + length - 1) / length);
    const Sums sums = scorer->score(0, scorer->size());
    double nats = 0, after_one = 0, after_four = 0, tokens_after_four = 0;
    for (int64_t first = 1; first < size; first += length) {
      const auto window = nats_of_window(bound.model, text, first, std::min(first + length, size));
      for (size_t i = 0; i < window.size(); ++i) {
        nats += window[i];
        if (i == 0) after_one += window[i];
        if (3 <= i && i < 7) after_four += window[i], tokens_after_four += 1;
      }
    }
    EXPECT_EQ(sums["tokens"], static_cast<double>(size - 1));
    EXPECT_NEAR(sums["nats"], nats, 1e-9 * nats);
    EXPECT_NEAR(sums["nats at 1"], after_one, 1e-9 * nats);
    EXPECT_NEAR(sums["nats at 4 to 7"], after_four, 1e-9 * nats);
    EXPECT_EQ(sums["tokens at 4 to 7"], tokens_after_four);
  }
}

TEST(OwnText, SharesAddUpWhateverTheBatch) {
  BoundModel bound = small_model(31);
  const OwnText text = text_of(60);
  const auto by_two = evaluation::make_own_text(text, bound.model, at::kCPU, 2, length);
  const auto by_five = evaluation::make_own_text(text, bound.model, at::kCPU, 5, length);
  Sums parts = by_two->score(0, 3);
  parts += by_two->score(3, 3);
  parts += by_two->score(3, by_two->size());
  const Sums whole = by_five->score(0, by_five->size());
  EXPECT_EQ(parts["tokens"], whole["tokens"]);
  EXPECT_NEAR(parts["nats"], whole["nats"], 1e-10 * whole["nats"]);
  const auto metrics = by_five->metrics(whole);
  const double nats = whole["nats"] / 59;
  for (const auto& [name, expected] : {std::pair("loss", nats),
                                       {"nats_per_byte", whole["nats"] / 100},
                                       {"bits_per_byte", whole["nats"] / 100 / std::log(2)},
                                       {"perplexity", std::exp(nats)}}) {
    const auto found =
        std::find_if(metrics.begin(), metrics.end(), [&](const auto& m) { return m.name == name; });
    ASSERT_NE(found, metrics.end()) << name;
    EXPECT_NEAR(std::get<double>(found->value), expected, 1e-12 * expected) << name;
  }
}

TEST(OwnText, RangesOfContextDoubleUpToTheLengthOfASequence) {
  int64_t next = 1;
  for (const auto& range : evaluation::context_ranges(100)) {
    EXPECT_EQ(range.first, next);
    next = range.last + 1;
  }
  EXPECT_EQ(next, 101);
  EXPECT_EQ(evaluation::context_ranges(100).back().first, 64);
  EXPECT_EQ(evaluation::context_ranges(1).size(), 1u);
}

}  // namespace
}  // namespace sisa::tests
