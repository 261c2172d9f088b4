#include "data/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "common/random.h"

namespace sisa::data {
namespace {

// The windows of the samples [first, first + count) of a sampler with one source.
std::vector<int64_t> windows(const Sampler& sampler, int64_t first, int64_t count) {
  std::vector<int64_t> result;
  for (int64_t i = 0; i < count; ++i) result.push_back(sampler(first + i).window);
  return result;
}

bool is_permutation_of_all(std::vector<int64_t> order) {
  std::sort(order.begin(), order.end());
  for (size_t i = 0; i < order.size(); ++i)
    if (order[i] != static_cast<int64_t>(i)) return false;
  return true;
}

TEST(SamplerTest, AnEpochYieldsEveryWindowOnceForAnyNumberOfRanks) {
  constexpr int64_t num_windows = 101, batch = 14, epochs = 3;
  const Sampler sampler(5, {{num_windows}});
  for (int64_t ranks = 1; ranks <= 7; ++ranks) {
    std::map<int64_t, std::vector<int64_t>> seen;  // epoch -> windows
    for (int64_t rank = 0; rank < ranks; ++rank)
      for (int64_t start = 0; start < epochs * num_windows; start += batch)
        for (int64_t i = rank * batch / ranks; i < (rank + 1) * batch / ranks; ++i)
          seen[sampler.epoch(start + i)].push_back(sampler(start + i).window);
    for (int64_t epoch = 0; epoch < epochs; ++epoch) {
      EXPECT_EQ(seen[epoch].size(), static_cast<size_t>(num_windows)) << ranks;
      EXPECT_TRUE(is_permutation_of_all(seen[epoch])) << ranks;
    }
  }
}

TEST(SamplerTest, EveryEpochSeedAndSourceHasItsOwnOrder) {
  const Sampler sampler(5, {{1000}}), other(6, {{1000}}), again(5, {{1000}});
  const auto first = windows(sampler, 0, 1000), second = windows(sampler, 1000, 1000);
  EXPECT_EQ(first, windows(again, 0, 1000));
  for (const auto& order : {second, windows(other, 0, 1000)}) {
    EXPECT_TRUE(is_permutation_of_all(order));
    int64_t equal = 0;
    for (size_t i = 0; i < order.size(); ++i) equal += order[i] == first[i];
    EXPECT_LT(equal, 10);  // 1 is expected
  }
  const Sampler two(5, {{1000}, {1000}});
  std::vector<std::vector<int64_t>> orders(2);
  for (int64_t i = 0; i < 2000; ++i) orders[static_cast<size_t>(two(i).source)].push_back(two(i).window);
  EXPECT_TRUE(is_permutation_of_all(orders[0]) && is_permutation_of_all(orders[1]));
  EXPECT_NE(orders[0], orders[1]);
}

TEST(SamplerTest, NeighboursAreFarApart) {
  const auto order = windows(Sampler(5, {{10'000}}), 0, 10'000);
  double distance = 0;
  for (size_t i = 1; i < order.size(); ++i)
    distance += std::abs(static_cast<double>(order[i] - order[i - 1]));
  EXPECT_NEAR(distance / 9'999, 10'000 / 3.0, 100);  // of two uniform draws; deviation 24
}

// Runs resume in this order, so that a change of it would break every run that is not finished.
TEST(SamplerTest, TheOrderIsThatOfEarlierVersions) {
  EXPECT_EQ(windows(Sampler(1, {{1000}}), 998, 5), (std::vector<int64_t>{472, 662, 757, 302, 625}));
  const Sampler mixed(1, {{10, 1}, {20, 3}});
  std::vector<std::pair<int64_t, int64_t>> places;
  for (int64_t i = 0; i < 5; ++i) places.emplace_back(mixed(i).source, mixed(i).window);
  EXPECT_EQ(places, (std::vector<std::pair<int64_t, int64_t>>{{1, 19}, {1, 3}, {0, 3}, {1, 2}, {1, 6}}));
}

TEST(SamplerTest, OneWindowIsEnough) {
  const Sampler sampler(5, {{1}});
  EXPECT_EQ(windows(sampler, 0, 4), (std::vector<int64_t>{0, 0, 0, 0}));
  EXPECT_EQ(sampler.epoch(3), 3);
}

// The bound in the comment of the class Sampler.
double bound(size_t num_sources) {
  double sum = num_sources > 1 ? 1 : 0;
  for (size_t i = 1; i + 2 <= num_sources; ++i) sum += 1.0 / static_cast<double>(i);
  return sum / 2;
}

std::vector<Sampler::Source> sources_of(const std::vector<double>& weights) {
  std::vector<Sampler::Source> sources;
  for (const double weight : weights) sources.push_back({17, weight});
  return sources;
}

// The largest difference of a source's number of samples from its share, over all prefixes of `length`
// samples that begin at `first`; samples before `first` are not counted.
double worst_difference(const std::vector<double>& weights, int64_t first, int64_t length) {
  const Sampler sampler(3, sources_of(weights));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int64_t> counts(weights.size());
  double worst = 0;
  for (int64_t n = 1; n <= length; ++n) {
    ++counts[static_cast<size_t>(sampler(first + n - 1).source)];
    for (size_t k = 0; k < weights.size(); ++k)
      worst = std::max(
          worst, std::abs(static_cast<double>(counts[k]) - static_cast<double>(n) * weights[k] / total));
  }
  return worst;
}

TEST(SamplerTest, WeightsHoldAtEveryPrefix) {
  std::vector<std::vector<double>> mixtures = {
      {1},       {1, 1},   {1, 1, 1},    {0.7, 0.2, 0.1}, {0.1, 0.7, 0.2},
      {1, 1000}, {1, 1e9}, {3, 2, 2, 1}, {1e-3, 1, 1, 1}, std::vector<double>(12, 1.0)};
  const common::RandomStream random(1, 2);
  for (uint64_t i = 0; i < 40; ++i) {
    std::vector<double>& weights = mixtures.emplace_back(2 + i % 11);
    for (size_t k = 0; k < weights.size(); ++k) weights[k] = std::pow(random.uniforms(100 * i + k)[0], 3.0);
  }
  for (const auto& weights : mixtures)
    EXPECT_LE(worst_difference(weights, 0, 3000), bound(weights.size()) + 1e-9)
        << testing::PrintToString(weights);
}

TEST(SamplerTest, WeightsHoldAfterAnyNumberOfSamples) {
  for (const std::vector<double>& weights : {std::vector<double>{1, 2}, {0.7, 0.2, 0.1}, {5, 4, 3, 2, 1}})
    for (const int64_t first : {int64_t{1'000'003}, int64_t{1} << 33, (int64_t{1} << 50) - 3000})
      EXPECT_LE(worst_difference(weights, first, 3000), 2 * bound(weights.size()) + 1e-9);  // one at each end
}

// The epoch of a source with one window is the number of its earlier samples, which gives the counts at any n
// directly.
TEST(SamplerTest, WeightsHoldOverTrillionsOfSamples) {
  for (const std::vector<double>& weights :
       {std::vector<double>{1, 2}, {0.7, 0.2, 0.1}, {1, 1e6}, {5, 4, 3, 2, 1, 1e-3}}) {
    std::vector<Sampler::Source> sources = sources_of(weights);
    for (Sampler::Source& source : sources) source.num_windows = 1;
    const Sampler sampler(3, sources);
    const long double total = std::accumulate(weights.begin(), weights.end(), 0.0L);
    for (const int64_t first : {int64_t{999'983}, int64_t{1'000'000'000'000}, (int64_t{1} << 50) - 3000})
      for (int64_t n = first; n < first + 3000; ++n) {
        const auto source = static_cast<size_t>(sampler(n).source);
        const long double share = static_cast<long double>(n) * weights[source] / total;
        ASSERT_LE(std::abs(static_cast<long double>(sampler.epoch(n)) - share),
                  bound(weights.size()) + static_cast<double>(n) * 0x1p-49)
            << testing::PrintToString(weights) << n;
      }
  }
}

TEST(SamplerTest, LaterSamplesNeedNoEarlierOnes) {
  const int64_t epoch = 1'000'000'000;
  const Sampler sampler(5, {{1000}}), fresh(5, {{1000}});
  const auto order = windows(sampler, epoch * 1000, 1000);
  EXPECT_TRUE(is_permutation_of_all(order));
  for (int64_t i = 999; i >= 0; --i) {
    EXPECT_EQ(fresh(epoch * 1000 + i).window, order[static_cast<size_t>(i)]);
    EXPECT_EQ(fresh.epoch(epoch * 1000 + i), epoch);
  }
}

TEST(SamplerTest, EachSourceGoesThroughItsEpochsWhateverItsWeight) {
  const std::vector<Sampler::Source> sources = {{7, 1}, {30, 2.5}, {3, 0.4}};
  const Sampler sampler(9, sources);
  std::map<std::pair<int64_t, int64_t>, std::vector<int64_t>> seen;  // source, epoch -> windows
  for (int64_t i = 0; i < 2000; ++i) {
    const auto [source, window] = sampler(i);
    seen[{source, sampler.epoch(i)}].push_back(window);
  }
  for (size_t source = 0; source < sources.size(); ++source) {
    std::set<std::vector<int64_t>> orders;
    for (int64_t epoch = 0; seen.contains({static_cast<int64_t>(source), epoch + 1}); ++epoch) {
      const auto& order = seen[{static_cast<int64_t>(source), epoch}];
      EXPECT_EQ(order.size(), static_cast<size_t>(sources[source].num_windows));
      EXPECT_TRUE(is_permutation_of_all(order));
      orders.insert(order);
    }
    EXPECT_GT(orders.size(), 3u);
  }
}

}  // namespace
}  // namespace sisa::data
