#include "common/random.h"

#include <c10/util/Exception.h>  // TORCH_INTERNAL_ASSERT

#include <algorithm>
#include <bit>

namespace sisa::common {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

std::array<uint32_t, 4> RandomStream::draw(uint64_t index, uint32_t attempt) const {
  // The key is the seed; the counter is the index and the stream, folded with the attempt.
  const uint64_t high = stream_ + uint64_t{attempt} * 0x9E3779B97F4A7C15;
  return philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                 static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)},
                {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)});
}

std::array<double, 2> RandomStream::uniforms(uint64_t index) const {
  const auto r = draw(index, 0);
  const auto open = [](uint32_t high, uint32_t low) {
    const uint64_t bits =
        (uint64_t{high} << 32 | low) >> 12;  // 52 bits: adding 1/2 to 53 could round up to 1
    return (static_cast<double>(bits) + 0.5) * 0x1p-52;
  };
  return {open(r[0], r[1]), open(r[2], r[3])};
}

uint64_t RandomStream::bits(uint64_t index) const {
  const auto r = draw(index, 0);
  return uint64_t{r[0]} << 32 | r[1];
}

uint64_t RandomStream::below(uint64_t bound, uint64_t index) const {
  TORCH_INTERNAL_ASSERT(bound > 0);
  const uint64_t threshold = -bound % bound;  // 2^64 mod bound
  for (uint32_t attempt = 0;; ++attempt) {
    const auto r = draw(index, attempt);
    const auto product = static_cast<unsigned __int128>(uint64_t{r[0]} << 32 | r[1]) * bound;
    if (static_cast<uint64_t>(product) >= threshold) return static_cast<uint64_t>(product >> 64);
  }
}

Permutation::Permutation(uint64_t size, uint64_t seed, uint64_t stream)
    : size_(size),
      half_bits_(std::max(1, (static_cast<int>(std::bit_width(size == 0 ? 0 : size - 1)) + 1) / 2)),
      key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
      stream_(stream) {}

uint64_t Permutation::operator()(uint64_t index) const {
  TORCH_INTERNAL_ASSERT(index < size_);
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  do {
    uint64_t left = index >> half_bits_, right = index & mask;
    for (uint32_t round = 0; round < 6; ++round) {
      const auto r = philox({static_cast<uint32_t>(right), static_cast<uint32_t>(stream_),
                             static_cast<uint32_t>(stream_ >> 32), round},
                            key_);
      const uint64_t next = left ^ (r[0] & mask);
      left = right;
      right = next;
    }
    index = left << half_bits_ | right;
  } while (index >= size_);  // ends soon, since the domain is at most four times as large as `size`
  return index;
}

}  // namespace sisa::common
