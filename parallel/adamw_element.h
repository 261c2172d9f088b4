// AdamW for one element. The loop on the CPU and the CUDA kernel share this formula.
#pragma once

#include <cmath>

#include "parallel/adamw_kernels.h"

#ifdef __CUDACC__
#define SISA_HOST_DEVICE __host__ __device__
#else
#define SISA_HOST_DEVICE
#endif

namespace sisa::parallel {

// Decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019,
// algorithm 2). Computes in T and rounds each result to State once. A padding cell, where all four are zero,
// stays zero.
template <typename T, typename State>
SISA_HOST_DEVICE inline void adamw_element(const AdamWStep<T>& step, State gradient, State& moment1,
                                           State& moment2, State& master) {
  using std::sqrt;
  const T g = static_cast<T>(gradient) * step.gradient_factor;
  const T m0 = static_cast<T>(moment1);
  const T m = m0 + (1 - step.beta1) * (g - m0);
  const T v = static_cast<T>(moment2) * step.beta2 + (1 - step.beta2) * g * g;
  const T denominator = sqrt(v / step.bias_correction2) + step.epsilon;
  const T theta =
      static_cast<T>(master) * step.decay - step.learning_rate * (m / step.bias_correction1) / denominator;
  moment1 = static_cast<State>(m);
  moment2 = static_cast<State>(v);
  master = static_cast<State>(theta);
}

}  // namespace sisa::parallel
