// Rotary position embedding (spec section 1.1, step 2).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace sisa::model {

// Turns interleaved pairs (2p, 2p + 1) of position t by the angle t base^(-2p / d_head). The tables are
// computed in fp64, kept in `statistics` and grow with the longest sequence seen, so that no length is
// refused.
class Rope {
 public:
  Rope(int64_t d_head, double base, at::ScalarType statistics)
      : d_head_(d_head), base_(base), statistics_(statistics) {}
  // x (B, T, H, d_head), computed and returned in `statistics`. first_positions: of each sequence's first
  // token; empty: all 0.
  at::Tensor operator()(const at::Tensor& x, const std::vector<int64_t>& first_positions = {});
  // Cosines and sines of the first T positions: (T, 1, d_head / 2), contiguous, in `statistics`.
  struct Tables {
    at::Tensor cosine, sine;
  };
  Tables tables(int64_t T, const at::Device& device) {
    grow(T, device);
    return {cosine_.narrow(0, 0, T), sine_.narrow(0, 0, T)};
  }

 private:
  void grow(int64_t length, const at::Device& device);
  int64_t d_head_;
  double base_;
  at::ScalarType statistics_;
  at::Tensor cosine_, sine_;  // (length, 1, d_head / 2)
};

}  // namespace sisa::model
