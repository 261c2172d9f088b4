// How the decay of SISA's state channels is kept in the range of floating-point numbers.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sisa::model {

// The exponents u_t = g_t - c_t, g_t being the sum of log alpha up to and including t; see augmentation.h.
struct DecayOffset {
  enum class Kind {
    causal,   // c_t depends on no later token (spec 1.5 a)
    minimax,  // as published: halfway between the sequence's largest and smallest g (spec 1.1, steps 6 and 7)
  };
  Kind kind = Kind::causal;
  double limit = 60;         // nats, of |u|: c0 of `causal`, the clamp of `minimax`
  int64_t max_segments = 0;  // of `causal`, in training: each resolves 2 c0 nats of decay; 0: automatic

  // Segments that training may use: max_segments or, if that is 0, as many as keep query and key within the 192
  // channels that have fast kernels on GPUs, d_head + segments d_state; at least 1. Where attention is our own
  // (fused.h), 0 means that there are none: it is exact without.
  int64_t num_segments(int64_t d_head, int64_t d_state) const {
    constexpr int64_t widest_query = 192;
    if (kind == Kind::minimax) return 1;
    return max_segments > 0 ? max_segments : std::max<int64_t>(1, (widest_query - d_head) / d_state);
  }
};

}  // namespace sisa::model
