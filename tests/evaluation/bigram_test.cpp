#include <gtest/gtest.h>

#include <cmath>

#include "evaluation/registry.h"
#include "tests/data/data_folder.h"
#include "tests/data/foreign_files.h"
#include "tests/evaluation/small_model.h"

namespace sisa::data {
namespace {

class BigramScorer : public DataFolder {
 protected:
  using Open = std::function<std::vector<TokenDataset>(Split)>;

  // Nats a token, on so many windows, cut between them into two ranges.
  static double loss(const Open& open, int64_t vocab_size, int64_t sequence_length, int64_t windows) {
    const HeldOut held_out(open(Split::validation), sequence_length);
    tests::BoundModel bound = tests::small_model(vocab_size);
    const auto scorers = make_scorers(bound, held_out, windows, [&] { return open(Split::train); });
    EXPECT_EQ(scorers.size(), 2u);  // the text is the other
    evaluation::Scorer& bigram = *scorers.back();
    EXPECT_EQ(bigram.role(), evaluation::Role::baseline);
    EXPECT_EQ(bigram.size(), windows);
    evaluation::Sums sums = bigram.score(0, windows / 2);
    sums += bigram.score(windows / 2, windows);
    EXPECT_EQ(sums["tokens"], static_cast<double>(windows * sequence_length));
    EXPECT_EQ(bigram.score(windows, windows)["tokens"], 0);
    return std::get<double>(bigram.metrics(sums)[0].value);
  }
  double loss(int64_t vocab_size, const std::vector<std::vector<uint32_t>>& train,
              const std::vector<uint32_t>& validation, int64_t sequence_length, int64_t windows) const {
    write_dataset(folder / "data", vocab_size, train, {validation});
    const Open open = [this](Split split) {
      std::vector<TokenDataset> datasets;
      datasets.push_back(TokenDataset::open(folder / "data", split));
      return datasets;
    };
    return loss(open, vocab_size, sequence_length, windows);
  }

  static evaluation::Scorers make_scorers(tests::BoundModel& bound, const HeldOut& held_out, int64_t windows,
                                          const std::function<std::vector<TokenDataset>()>& open_training) {
    return evaluation::make_scorers({.model = bound.model,
                                     .device = at::kCPU,
                                     .micro_batch = 4,
                                     .held_out = held_out,
                                     .num_windows = windows,
                                     .open_training_text = open_training});
  }
};

TEST_F(BigramScorer, CountsPairsAndAddsOne) {
  // Pairs, also across the files' border: 01 three times, 10 once, 12 once, 20 once.
  // Of 4 tokens: p(1|0) = 4/7, p(0|1) = 2/6, p(2|1) = 2/6, p(3|3) = 1/4.
  EXPECT_NEAR(loss(4, {{0, 1, 0, 1}, {2, 0, 1}}, {0, 1, 2, 3, 3}, 1, 2),
              -(std::log(4.0 / 7) + std::log(2.0 / 6)) / 2, 1e-12);
  EXPECT_NEAR(loss(4, {{0, 1, 0, 1}, {2, 0, 1}}, {3, 3, 1, 0}, 3, 1),
              -(std::log(1.0 / 4) + std::log(1.0 / 4) + std::log(2.0 / 6)) / 3, 1e-12);
}

TEST_F(BigramScorer, CountsLongDataInBlocksWithoutLosingAPair) {
  std::vector<uint32_t> ids;  // a cycle of 3, longer than several blocks of 65,536
  for (uint32_t i = 0; i < 200'002; ++i) ids.push_back(i % 3);
  // Each pair stands (200,001 / 3) = 66,667 times.
  EXPECT_NEAR(loss(3, {ids}, {0, 1, 2, 0, 1}, 4, 1), -std::log(66'668.0 / 66'670), 1e-12);
}

TEST_F(BigramScorer, CountsOverTheLargestVocabularyOfItsSources) {
  write_dataset(folder / "ours", 10, {{1, 2, 3}}, {{1, 2, 3}});
  write("theirs.bin", llmc_file({15, 2, 3}));
  const Open both = [this](Split split) {
    std::vector<TokenDataset> datasets;
    datasets.push_back(TokenDataset::open(folder / "ours", split));
    datasets.push_back(
        TokenDataset::open(folder / "theirs.bin", split, {16, split == Split::train ? 0. : 1.}));
    return datasets;
  };
  // After 1 and 15 comes 2, in 1 of 1 cases; after 2 comes 3, in 2 of 2.
  EXPECT_NEAR(loss(both, 16, 2, 2), std::log(17 / 2.) / 2 + std::log(18 / 3.) / 2, 1e-12);
}

TEST_F(BigramScorer, NeedsASmallVocabularyAndText) {
  write_dataset(folder / "data", 4, {{0, 1, 0, 1}}, {{0, 1, 2, 3, 3}});
  std::vector<TokenDataset> datasets;
  datasets.push_back(TokenDataset::open(folder / "data", Split::validation));
  const HeldOut held_out(std::move(datasets), 2);
  tests::BoundModel small = tests::small_model(4096), large = tests::small_model(4097);
  EXPECT_EQ(make_scorers(small, held_out, 2, {}).size(), 2u);
  EXPECT_EQ(make_scorers(large, held_out, 2, {}).size(), 1u);
  EXPECT_EQ(make_scorers(small, held_out, 0, {}).size(), 0u);
}

}  // namespace
}  // namespace sisa::data
