#include "common/random.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

namespace sisa::common {
namespace {

using Counter = std::array<uint32_t, 4>;

// The known-answer vectors that Random123 publishes for philox4x32-10.
TEST(PhiloxTest, KnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStreamTest, DependsOnSeedStreamAndIndexAlone) {
  const RandomStream stream(1, 2);
  std::set<uint64_t> seen;
  for (const uint64_t index : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32, ~uint64_t{0}}) {
    EXPECT_EQ(stream.bits(index), RandomStream(1, 2).bits(index));
    seen.insert(stream.bits(index));
    seen.insert(RandomStream(1, 3).bits(index));
    seen.insert(RandomStream(2, 2).bits(index));
    seen.insert(RandomStream(uint64_t{1} << 32 | 1, 2).bits(index));
    seen.insert(RandomStream(1, uint64_t{1} << 32 | 2).bits(index));
  }
  EXPECT_EQ(seen.size(), 20u);
}

TEST(RandomStreamTest, UniformsAreUniformAndIndependent) {
  const RandomStream stream(7, 0);
  const int n = 100'000;
  double sum_u = 0, sum_v = 0, square_u = 0, product = 0;
  std::array<int, 10> bins{};
  for (int i = 0; i < n; ++i) {
    const auto [u, v] = stream.uniforms(static_cast<uint64_t>(i));
    ASSERT_GT(u, 0);
    ASSERT_LT(u, 1);
    ASSERT_GT(v, 0);
    ASSERT_LT(v, 1);
    sum_u += u;
    sum_v += v;
    square_u += u * u;
    product += u * v;
    ++bins[static_cast<size_t>(u * 10)];
  }
  // The standard error of the means is 0.0009; bounds at five of them.
  EXPECT_NEAR(sum_u / n, 0.5, 0.0046);
  EXPECT_NEAR(sum_v / n, 0.5, 0.0046);
  EXPECT_NEAR(square_u / n, 1.0 / 3, 0.0048);
  EXPECT_NEAR(product / n, 0.25, 0.0035);
  double chi_square = 0;
  for (const int count : bins) chi_square += std::pow(count - n / 10., 2) / (n / 10.);
  EXPECT_LT(chi_square, 33.7);  // 9 degrees of freedom, p = 0.0001
}

TEST(RandomStreamTest, BelowIsUniform) {
  const RandomStream stream(3, 1);
  std::array<int, 7> counts{};
  for (uint64_t i = 0; i < 70'000; ++i) ++counts[stream.below(7, i)];
  double chi_square = 0;
  for (const int count : counts) chi_square += std::pow(count - 10'000, 2) / 10'000;
  EXPECT_LT(chi_square, 27.9);  // 6 degrees of freedom, p = 0.0001
  EXPECT_EQ(stream.below(1, 5), 0u);
  EXPECT_THROW(stream.below(0, 5), c10::Error);
}

TEST(RandomStreamTest, BelowRejectsAndStaysInRange) {
  // Just above 2^63 nearly every other draw is rejected, so that further attempts are needed.
  const uint64_t bound = (uint64_t{1} << 63) + 1;
  const RandomStream stream(3, 1);
  int low = 0;
  for (uint64_t i = 0; i < 10'000; ++i) {
    const uint64_t x = stream.below(bound, i);
    ASSERT_LT(x, bound);
    low += x < bound / 2;
  }
  EXPECT_NEAR(low, 5000, 250);
}

TEST(PermutationTest, IsABijectionForManySizes) {
  std::vector<uint64_t> sizes = {255, 256, 257, 1000, 1023, 1024, 1025, 4096, 5000, 65'537};
  for (uint64_t size = 1; size <= 130; ++size) sizes.push_back(size);
  for (const uint64_t size : sizes)
    for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
      const Permutation permutation(size, seed, 5);
      EXPECT_EQ(permutation.size(), size);
      std::vector<bool> hit(size);
      for (uint64_t i = 0; i < size; ++i) {
        const uint64_t image = permutation(i);
        ASSERT_LT(image, size);
        ASSERT_FALSE(hit[image]) << size;
        hit[image] = true;
      }
    }
}

TEST(PermutationTest, DependsOnSeedAndStream) {
  const auto images = [](uint64_t seed, uint64_t stream) {
    std::vector<uint64_t> result;
    const Permutation permutation(1000, seed, stream);
    for (uint64_t i = 0; i < 1000; ++i) result.push_back(permutation(i));
    return result;
  };
  const std::vector<uint64_t> reference = images(1, 0);
  EXPECT_EQ(images(1, 0), reference);
  EXPECT_NE(images(2, 0), reference);
  EXPECT_NE(images(1, 1), reference);
  EXPECT_NE(images(1, uint64_t{1} << 32), reference);
}

TEST(PermutationTest, EveryImageIsAboutEquallyLikely) {
  constexpr uint64_t size = 50,
                     num_seeds = 20'000;  // tiny sizes are less even: a Feistel network of few bits
  std::array<std::array<int, size>, 3> counts{};
  for (uint64_t seed = 0; seed < num_seeds; ++seed) {
    const Permutation permutation(size, seed, 0);
    for (uint64_t i = 0; i < counts.size(); ++i) ++counts[i][permutation(i)];
  }
  const double expected = static_cast<double>(num_seeds) / size;  // 400 with a standard error of 20
  for (const auto& row : counts)
    for (const int count : row) EXPECT_NEAR(count, expected, 100);
}

TEST(PermutationTest, HoldsTheLargestSizes) {
  for (const uint64_t size : {(uint64_t{1} << 40) + 3, ~uint64_t{0}}) {
    const Permutation permutation(size, 9, 0);
    std::set<uint64_t> images;
    for (uint64_t i = 0; i < 1000; ++i) {
      images.insert(permutation(i));
      images.insert(permutation(size - 1 - i));
    }
    EXPECT_EQ(images.size(), 2000u);
    EXPECT_LT(*images.rbegin(), size);
  }
  EXPECT_THROW(Permutation(3, 1, 0)(3), c10::Error);
}

}  // namespace
}  // namespace sisa::common
