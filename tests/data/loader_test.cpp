#include "data/loader.h"

#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "tests/data/data_folder.h"

namespace sisa::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

using Rows = std::vector<std::vector<int64_t>>;

Rows rows(const at::Tensor& tensor) {
  EXPECT_EQ(tensor.scalar_type(), at::kLong);
  EXPECT_TRUE(tensor.is_contiguous());
  Rows result;
  for (int64_t row = 0; row < tensor.size(0); ++row) {
    const int64_t* data = tensor.const_data_ptr<int64_t>() + row * tensor.size(1);
    result.emplace_back(data, data + tensor.size(1));
  }
  return result;
}

class LoaderTest : public DataFolder {
 protected:
  // A dataset whose ids count up from `first`, in files of the given lengths.
  TokenDataset counting(const std::string& name, uint32_t first, const std::vector<uint32_t>& lengths,
                        Split split = Split::train) const {
    std::vector<std::vector<uint32_t>> files;
    for (const uint32_t length : lengths) {
      files.push_back(count_up(first, length));
      first += length;
    }
    const bool train = split == Split::train;
    return TokenDataset::open(write_dataset(folder / name, 100'000, train ? files : decltype(files){},
                                            train ? decltype(files){} : files),
                              split);
  }
  Loader loader(int64_t sequence_length, uint64_t seed, const std::vector<uint32_t>& lengths) const {
    std::vector<Loader::Source> sources;
    sources.push_back({counting("data", 0, lengths)});
    return Loader(std::move(sources), sequence_length, seed);
  }
};

TEST_F(LoaderTest, TargetsAreTheSuccessorsOfTheInputs) {
  const Loader l = loader(8, 1, {5, 50, 3, 120});  // windows cross the files' borders
  const Batch batch = l.read(0, 5);
  EXPECT_EQ(batch.inputs.sizes(), (std::vector<int64_t>{5, 8}));
  EXPECT_EQ(batch.targets.sizes(), batch.inputs.sizes());
  const Rows inputs = rows(batch.inputs), targets = rows(batch.targets);
  for (size_t row = 0; row < inputs.size(); ++row) {
    EXPECT_EQ(inputs[row][0], l.sampler()(static_cast<int64_t>(row)).window * 8);
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(inputs[row][i], inputs[row][0] + static_cast<int64_t>(i));
      EXPECT_EQ(targets[row][i], inputs[row][i] + 1);
    }
  }
}

TEST_F(LoaderTest, AnEpochPredictsEveryTokenButTheFirstOnce) {
  for (const uint32_t tokens : {97u, 98u, 104u}) {  // 12 windows of 8 and the first token; 1 and 7 left over
    const Loader l = loader(8, 1, {tokens});
    EXPECT_EQ(l.samples_per_epoch(), 12);
    std::map<int64_t, int> predicted;
    for (const auto& row : rows(l.read(0, 12).targets))
      for (const int64_t id : row) ++predicted[id];
    EXPECT_EQ(predicted.size(), 96u);
    for (const auto& [id, times] : predicted) {
      EXPECT_EQ(times, 1);
      EXPECT_LE(id, 96);
    }
  }
}

TEST_F(LoaderTest, AStepReadsTheSameSamplesOnAnyNumberOfRanks) {
  constexpr int64_t batch = 12, steps = 10;
  const Loader l = loader(8, 1, {1000});
  for (int64_t step = 0; step < steps; ++step) {
    const Rows whole = rows(l.read(step * batch, batch).inputs);
    for (const int64_t ranks : {1, 2, 4, 5}) {
      // Opened again, as by a resumed run, and read in micro-batches of at most 2.
      const Loader resumed = loader(8, 1, {1000});
      Rows together;
      for (int64_t rank = 0; rank < ranks; ++rank)
        for (int64_t i = rank * batch / ranks; i < (rank + 1) * batch / ranks; i += 2) {
          const Rows part = rows(
              resumed.read(step * batch + i, std::min<int64_t>(2, (rank + 1) * batch / ranks - i)).inputs);
          together.insert(together.end(), part.begin(), part.end());
        }
      EXPECT_EQ(together, whole);
    }
  }
  EXPECT_NE(rows(l.read(0, batch).inputs), rows(loader(8, 2, {1000}).read(0, batch).inputs));
}

TEST_F(LoaderTest, SourcesTakeTurnsByWeight) {
  std::vector<Loader::Source> sources;
  sources.push_back({counting("a", 0, {1000}), 3});
  sources.push_back({counting("b", 50'000, {90}), 1});
  const Loader l(std::move(sources), 8, 1);
  EXPECT_EQ(l.samples_per_epoch(), 124 + 11);
  int64_t from_b = 0;
  for (const auto& row : rows(l.read(0, 400).inputs)) from_b += row[0] >= 50'000;
  EXPECT_EQ(from_b, 100);
}

TEST_F(LoaderTest, RefusesDataShorterThanAWindow) {
  EXPECT_EQ(loader(1000, 1, {1001}).samples_per_epoch(), 1);
  EXPECT_THAT(
      refusal([&] { loader(1001, 1, {1001}); }),
      AllOf(HasSubstr("1,002 tokens"), HasSubstr("only 1,001"), HasSubstr((folder / "data").string())));
  EXPECT_THAT(refusal([&] { loader(8, 1, {}); }), HasSubstr("only 0"));
}

TEST_F(LoaderTest, CountsWindows) {
  EXPECT_EQ(num_windows(0, 4), 0);
  EXPECT_EQ(num_windows(4, 4), 0);
  EXPECT_EQ(num_windows(5, 4), 1);
  EXPECT_EQ(num_windows(8, 4), 1);
  EXPECT_EQ(num_windows(9, 4), 2);
}

TEST_F(LoaderTest, HeldOutWindowsComeInOrderWithoutPartialOnes) {
  std::vector<TokenDataset> datasets;
  datasets.push_back(counting("a", 0, {7, 4}, Split::validation));  // 2 windows of 4, 2 tokens left over
  datasets.push_back(counting("b", 50, {3}, Split::validation));    // none
  datasets.push_back(counting("c", 100, {5}, Split::validation));   // 1
  const HeldOut held_out(std::move(datasets), 4);
  EXPECT_EQ(held_out.size(), 3);
  EXPECT_EQ(held_out.sequence_length(), 4);
  EXPECT_EQ(rows(held_out.read(0, 3).inputs), (Rows{{0, 1, 2, 3}, {4, 5, 6, 7}, {100, 101, 102, 103}}));
  EXPECT_EQ(rows(held_out.read(1, 2).targets), (Rows{{5, 6, 7, 8}, {101, 102, 103, 104}}));
  EXPECT_DOUBLE_EQ(held_out.tokens_per_byte(), 1);
  EXPECT_THROW(held_out.read(2, 2), c10::Error);
  EXPECT_THROW(held_out.read(0, 0), c10::Error);
}

TEST_F(LoaderTest, HeldOutDataMayBeMissing) {
  const HeldOut none({}, 4);
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(none.tokens_per_byte(), 0);
}

}  // namespace
}  // namespace sisa::data
