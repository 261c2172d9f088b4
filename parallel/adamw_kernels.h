// The loops of AdamW over raw memory, for the CPU and for CUDA. Includes no LibTorch, since .cu files include
// this header.
#pragma once

#include <cstdint>

namespace sisa::parallel {

enum class Number { fp64, fp32, bf16 };

// The numbers of one update that are common to all elements of a range. T is the type of the arithmetic.
template <typename T>
struct AdamWStep {
  T gradient_factor;  // the product of the gradient's scale and the clipping factor
  T beta1, beta2;
  T bias_correction1, bias_correction2;  // 1 - beta^t
  T learning_rate;
  T decay;  // 1 - learning_rate * weight_decay
  T epsilon;

  template <typename U>
  AdamWStep<U> as() const {
    return {U(gradient_factor),  U(beta1),         U(beta2), U(bias_correction1),
            U(bias_correction2), U(learning_rate), U(decay), U(epsilon)};
  }
};

// `size` elements of one range. `state` is the type of gradients, moments and masters, and `value` is that of
// the values. If they are equal, masters and values are the same memory. The arithmetic is in fp64 if `state`
// is fp64, and otherwise in fp32.
struct AdamWSlice {
  Number state, value;
  int64_t size;
  const void* gradients;
  void *moment1, *moment2, *masters, *values;
};

// Updates moments and masters and rounds the masters into values, in one pass.
void adamw_update_cpu(const AdamWSlice& slice, const AdamWStep<double>& step);
// The same, on `stream`, a cudaStream_t of the current device.
void adamw_update_cuda(const AdamWSlice& slice, const AdamWStep<double>& step, void* stream);

// The sum of squares of x (size), in fp64. Parts of a fixed size are summed in a fixed order, so that the
// bits do not depend on the number of threads.
double sum_of_squares_cpu(Number type, const void* x, int64_t size);
// The same on a GPU: writes num_partial_sums numbers to device memory, the sum of which is the result.
constexpr int num_partial_sums = 1024;
void sum_of_squares_cuda(Number type, const void* x, int64_t size, double* partial_sums, void* stream);

}  // namespace sisa::parallel
