#include "data/prepare/hold_out.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

#include "common/random.h"

namespace sisa::data {
namespace {

struct Document {
  common::Hash128 hash;
  int64_t tokens;
  int64_t held_out = 0;
};

common::Hash128 hash(size_t i) {
  return {i, common::RandomStream(1, 2).bits(i)};
}

int64_t sum(const std::vector<Document>& documents, int64_t Document::*field) {
  return std::accumulate(documents.begin(), documents.end(), int64_t{0},
                         [&](int64_t all, const Document& d) { return all + d.*field; });
}

// Documents that the lengths describe, with what of them is held out.
std::vector<Document> choose(double share, std::vector<Document> documents) {
  HoldOut rule(share);
  for (const Document& d : documents) rule.count(d.hash, d.tokens);
  rule.narrow();
  for (const Document& d : documents) rule.examine(d.hash, d.tokens);
  rule.settle();
  for (Document& d : documents) d.held_out = rule.held_out_tokens(d.hash, d.tokens);
  return documents;
}
std::vector<Document> choose(double share, const std::vector<int64_t>& lengths) {
  std::vector<Document> documents;
  for (size_t i = 0; i < lengths.size(); ++i) documents.push_back({hash(i), lengths[i]});
  return choose(share, documents);
}

int64_t count_whole(const std::vector<Document>& documents) {
  return std::count_if(documents.begin(), documents.end(),
                       [](const Document& d) { return d.held_out == d.tokens; });
}
int64_t count_divided(const std::vector<Document>& documents) {
  return std::count_if(documents.begin(), documents.end(),
                       [](const Document& d) { return d.held_out > 0 && d.held_out < d.tokens; });
}
double share_of(const std::vector<Document>& documents) {
  return static_cast<double>(sum(documents, &Document::held_out)) /
         static_cast<double>(sum(documents, &Document::tokens));
}

// Lengths as those of texts are distributed: log-normally, with this median.
std::vector<int64_t> lengths(int count, double median, double sigma) {
  const common::RandomStream random(3, 4);
  std::vector<int64_t> lengths;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const auto uniform = [&](size_t j) {
      return (static_cast<double>(random.bits(j) >> 11) + 0.5) * 0x1p-53;
    };
    const double normal =
        std::sqrt(-2 * std::log(uniform(2 * i))) * std::cos(2 * std::numbers::pi * uniform(2 * i + 1));
    lengths.push_back(1 + static_cast<int64_t>(median * std::exp(sigma * normal)));
  }
  return lengths;
}

TEST(HoldOut, ManyDocumentsGiveTheirShareAsWholes) {
  for (const double share : {0.001, 0.01, 0.1, 0.5}) {
    const auto documents = choose(share, std::vector<int64_t>(100'000, 50));
    EXPECT_NEAR(share_of(documents), share, share / 1000);
    EXPECT_EQ(count_divided(documents), 0);
  }
}

// 369 long texts of 61M tokens, and 4,000 articles: whole documents as long as those that are trained on.
TEST(HoldOut, HeldOutDocumentsKeepTheirLength) {
  for (const auto& [count, median, sigma] : {std::tuple{369, 120'000., 0.8}, {4'000, 1'200., 1.}}) {
    const auto documents = choose(0.01, lengths(count, median, sigma));
    EXPECT_NEAR(share_of(documents), 0.01, 0.001);
    EXPECT_LE(count_divided(documents), 1);
    EXPECT_GE(count_whole(documents), count / 200);
    const auto held_out = static_cast<double>(sum(documents, &Document::held_out)) /
                          static_cast<double>(count_whole(documents) + count_divided(documents));
    const auto all = static_cast<double>(sum(documents, &Document::tokens)) / count;
    EXPECT_GT(held_out, all / 2);
    EXPECT_LT(held_out, all * 2);
  }
}

TEST(HoldOut, ASingleTextIsDivided) {
  const auto documents = choose(0.25, std::vector<int64_t>{1990});
  EXPECT_EQ(documents[0].tokens - documents[0].held_out, 1492);
}

// At most one text is divided, and only where the share would be missed by more than a tenth of it.
TEST(HoldOut, TheShareIsMissedByATenthAtMost) {
  for (const int count : {2, 3, 5, 10, 30, 100, 199, 200, 1'000})
    for (const double share : {0.001, 0.01, 0.05, 0.2, 0.5})
      for (const double sigma : {0., 1., 2.}) {
        const auto documents = choose(share, lengths(count, 5'000, sigma));
        EXPECT_NEAR(share_of(documents), share, share / 10 + 1e-4) << count << " " << share << " " << sigma;
        EXPECT_LE(count_divided(documents), 1);
      }
}

TEST(HoldOut, TheOrderOfDocumentsDoesNotMatterAndASmallerShareIsAPart) {
  std::vector<Document> documents = choose(0.1, lengths(2'000, 500, 1));
  std::reverse(documents.begin(), documents.end());
  const auto again = choose(0.1, documents), less = choose(0.05, documents);
  for (size_t i = 0; i < documents.size(); ++i) {
    EXPECT_EQ(again[i].held_out, documents[i].held_out);
    EXPECT_LE(less[i].held_out, documents[i].held_out);
  }
}

TEST(HoldOut, CopiesShareTheFateOfTheirText) {
  for (const int texts : {1, 3, 40, 1'000}) {
    std::vector<Document> documents;
    const auto sizes = lengths(texts, 1'000, 1);
    for (size_t copy = 0; copy < 7; ++copy)
      for (size_t i = 0; i < sizes.size(); ++i) documents.push_back({hash(i), sizes[i]});
    documents = choose(0.02, documents);
    EXPECT_NEAR(share_of(documents), 0.02, 0.003) << texts;
    for (size_t i = sizes.size(); i < documents.size(); ++i)
      EXPECT_EQ(documents[i].held_out, documents[i - sizes.size()].held_out);
  }
}

TEST(HoldOut, NothingIsHeldOutWhereNothingIsAskedFor) {
  EXPECT_EQ(sum(choose(0, std::vector<int64_t>(2'000, 10)), &Document::held_out), 0);
  EXPECT_EQ(sum(choose(1e-12, std::vector<int64_t>(2'000, 10)), &Document::held_out), 1);
  EXPECT_EQ(sum(choose(1e-17, std::vector<int64_t>(2'000, 10)), &Document::held_out), 0);
}

}  // namespace
}  // namespace sisa::data
