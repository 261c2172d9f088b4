// Counter-based random numbers: each draw is a pure function of (seed, stream, index), so that no draw
// depends on how many came before it, on which rank or thread asks, or on padding.
#pragma once

#include <array>
#include <cstdint>

namespace sisa::common {

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): 128 bits out of a
// 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// One stream of draws. `index` may be any 64-bit number.
class RandomStream {
 public:
  // `stream`: for a named stream, hash64(name).
  RandomStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  // Two independent uniforms in the open interval (0, 1), 52 bits each.
  std::array<double, 2> uniforms(uint64_t index) const;
  uint64_t bits(uint64_t index) const;
  // Uniform on [0, bound), bound > 0, exactly (by Lemire's rejection; rejected draws come from further
  // counters).
  uint64_t below(uint64_t bound, uint64_t index) const;

 private:
  std::array<uint32_t, 4> draw(uint64_t index, uint32_t attempt) const;
  uint64_t seed_;
  uint64_t stream_;
};

// A pseudorandom permutation of [0, size) that is computed point by point: a balanced Feistel network over
// the smallest even number of bits that holds `size`, cycle-walked back into range. State: none. Cost: a few
// Philox calls a point.
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
