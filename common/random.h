// Counter-based random numbers: each draw is a pure function of (seed, stream, index). It does not depend on
// how many draws came before it, on which rank or thread asks for it, or on padding.
#pragma once

#include <array>
#include <cstdint>

namespace sisa::common {

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): 128 random bits from
// a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// One stream of random numbers. `index` may be any 64-bit number.
class RandomStream {
 public:
  // A stream with a name has hash64(name) as `stream`.
  RandomStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  // Two independent uniform numbers in the open interval (0, 1), of 52 bits each.
  std::array<double, 2> uniforms(uint64_t index) const;
  uint64_t bits(uint64_t index) const;
  // A number that is exactly uniform on [0, bound), bound > 0 (Lemire's rejection method, in which every
  // attempt has a counter of its own).
  uint64_t below(uint64_t bound, uint64_t index) const;

 private:
  std::array<uint32_t, 4> draw(uint64_t index, uint32_t attempt) const;
  uint64_t seed_;
  uint64_t stream_;
};

// A pseudorandom permutation of [0, size) that is computed point by point, without any state: a balanced
// Feistel network over the smallest even number of bits that can hold `size`, with cycle walking back into
// the range. A point costs a few Philox calls.
class Permutation {
 public:
  Permutation(uint64_t size, uint64_t seed, uint64_t stream);
  uint64_t operator()(uint64_t index) const;  // index < size
  uint64_t size() const { return size_; }

 private:
  uint64_t size_;
  int half_bits_;
  std::array<uint32_t, 2> key_;
  uint64_t stream_;
};

}  // namespace sisa::common
