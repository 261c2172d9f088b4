#include "data/prepare/hold_out.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "common/random.h"

namespace sisa::data {
namespace {

struct Chosen {
  HoldOut rule;
  int64_t documents = 0;  // held out
  int64_t tokens = 0;     // of them, in the split
  int64_t total = 0;
};

common::Hash128 hash(size_t i) {
  return {i, common::RandomStream(1, 2).bits(i)};
}

Chosen choose(double share, const std::vector<int64_t>& lengths) {
  Chosen chosen{HoldOut(share)};
  for (size_t i = 0; i < lengths.size(); ++i)
    chosen.rule.count(hash(i), lengths[i]), chosen.total += lengths[i];
  chosen.rule.settle();
  const auto for_each = [&](const auto& use) {
    for (size_t i = 0; i < lengths.size(); ++i)
      if (chosen.rule.held_out(hash(i))) use(lengths[i]);
  };
  for_each([&](int64_t length) { chosen.rule.measure(length); });
  chosen.rule.settle_cap();
  for_each([&](int64_t length) {
    chosen.documents += 1;
    chosen.tokens += std::min(length, chosen.rule.cap());
  });
  return chosen;
}

TEST(HoldOut, ManyDocumentsGiveTheirShareUncut) {
  const Chosen chosen = choose(0.01, std::vector<int64_t>(100'000, 50));
  EXPECT_NEAR(static_cast<double>(chosen.documents), 1000, 130);  // 4 deviations of the binomial distribution
  EXPECT_LE(chosen.tokens, chosen.total / 100);
  EXPECT_GT(chosen.tokens, chosen.total / 100 * 85 / 100);
}

// Of a thousand documents or more at least 200 are held out; of fewer, a fifth.
TEST(HoldOut, TwoHundredDocumentsTakePartWhereThereAreAsMany) {
  for (const auto& [documents, least] :
       {std::pair{200, 40}, {500, 100}, {1'000, 200}, {5'000, 200}, {19'000, 200}}) {
    std::vector<int64_t> lengths;
    for (int i = 0; i < documents; ++i) lengths.push_back(i % 100 == 0 ? 500'000 : 100 + i % 1000);
    const Chosen chosen = choose(0.01, lengths);
    EXPECT_EQ(chosen.documents, least);
    EXPECT_LE(chosen.tokens, chosen.total / 100);
    EXPECT_GT(chosen.tokens, std::min<int64_t>(chosen.total / 100, least * 100) / 2);
  }
}

TEST(HoldOut, TheCapIsTheLargestThatKeepsToTheShare) {
  std::vector<int64_t> lengths(1000, 100);
  std::fill(lengths.begin(), lengths.begin() + 100, 10'000);
  const Chosen chosen = choose(0.05, lengths);
  const int64_t room = chosen.total / 20;
  EXPECT_LE(chosen.tokens, room);
  EXPECT_GT(chosen.rule.cap(), 100);
  int64_t more = 0;  // with a cap of one token more
  for (size_t i = 0; i < lengths.size(); ++i)
    if (chosen.rule.held_out(hash(i))) more += std::min(lengths[i], chosen.rule.cap() + 1);
  EXPECT_GT(more, room);
}

TEST(HoldOut, SomethingIsHeldOutAtAnyShareAndNothingAtNone) {
  EXPECT_EQ(choose(1e-12, std::vector<int64_t>(2000, 10)).documents, 200);
  EXPECT_EQ(choose(1e-12, std::vector<int64_t>(2000, 10)).rule.cap(), 1);
  EXPECT_EQ(choose(0, std::vector<int64_t>(2000, 10)).documents, 0);
}

TEST(HoldOut, OfFewDocumentsTheFirstAreTrainedOn) {
  const Chosen few = choose(0.25, std::vector<int64_t>(199, 10));
  EXPECT_TRUE(few.rule.few());
  EXPECT_EQ(few.rule.trained_tokens(), 1492);  // of 1990
  EXPECT_FALSE(choose(0.25, std::vector<int64_t>(200, 10)).rule.few());
}

}  // namespace
}  // namespace sisa::data
