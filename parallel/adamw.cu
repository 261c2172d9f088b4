#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <type_traits>

#include "parallel/adamw_element.h"
#include "parallel/adamw_kernels.h"

namespace sisa::parallel {
namespace {

constexpr int num_threads = 256;

void check_launch(const char* kernel) {
  const cudaError_t result = cudaGetLastError();
  if (result != cudaSuccess)
    throw std::runtime_error(std::string("launch of the CUDA kernel ") + kernel + " failed with code " +
                             std::to_string(result) + ": " + cudaGetErrorString(result));
}

// One thread per element.
template <typename T, typename State, typename Value>
__global__ void update_kernel(AdamWSlice slice, AdamWStep<T> step) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * num_threads + threadIdx.x;
  if (i >= slice.size) return;
  State& master = static_cast<State*>(slice.masters)[i];
  adamw_element(step, static_cast<const State*>(slice.gradients)[i], static_cast<State*>(slice.moment1)[i],
                static_cast<State*>(slice.moment2)[i], master);
  if constexpr (!std::is_same_v<State, Value>)
    static_cast<Value*>(slice.values)[i] = static_cast<Value>(master);
}

template <typename T, typename State, typename Value>
void update(const AdamWSlice& slice, const AdamWStep<double>& step, cudaStream_t stream) {
  if (slice.size == 0) return;
  const auto num_blocks = static_cast<unsigned>((slice.size + num_threads - 1) / num_threads);
  update_kernel<T, State, Value><<<num_blocks, num_threads, 0, stream>>>(slice, step.template as<T>());
  check_launch("update_kernel");
}

// Block b writes the sum over the elements of all its threads. Thread t of block b adds up the elements
// (k num_partial_sums + b) num_threads + t in the order of k; the threads' sums are then added in a tree.
template <typename T>
__global__ void sum_of_squares_kernel(const T* x, int64_t size, double* partial_sums) {
  using Single = std::conditional_t<std::is_same_v<T, double>, double, float>;  // bf16 converts to float
  __shared__ double sums[num_threads];
  double sum = 0;
  constexpr int64_t stride = static_cast<int64_t>(num_partial_sums) * num_threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * num_threads + threadIdx.x; i < size; i += stride) {
    const double value = static_cast<Single>(x[i]);
    sum += value * value;
  }
  sums[threadIdx.x] = sum;
  for (int half = num_threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) partial_sums[blockIdx.x] = sums[0];
}

template <typename T>
void sum_of_squares(const void* x, int64_t size, double* partial_sums, cudaStream_t stream) {
  sum_of_squares_kernel<<<num_partial_sums, num_threads, 0, stream>>>(static_cast<const T*>(x), size,
                                                                      partial_sums);
  check_launch("sum_of_squares_kernel");
}

}  // namespace

void adamw_update_cuda(const AdamWSlice& slice, const AdamWStep<double>& step, void* stream_handle) {
  const auto stream = static_cast<cudaStream_t>(stream_handle);
  if (slice.state == Number::fp64) return update<double, double, double>(slice, step, stream);
  if (slice.state == Number::bf16) return update<float, __nv_bfloat16, __nv_bfloat16>(slice, step, stream);
  if (slice.value == Number::bf16) return update<float, float, __nv_bfloat16>(slice, step, stream);
  update<float, float, float>(slice, step, stream);
}

void sum_of_squares_cuda(Number type, const void* x, int64_t size, double* partial_sums,
                         void* stream_handle) {
  const auto stream = static_cast<cudaStream_t>(stream_handle);
  switch (type) {
    case Number::fp64:
      return sum_of_squares<double>(x, size, partial_sums, stream);
    case Number::fp32:
      return sum_of_squares<float>(x, size, partial_sums, stream);
    case Number::bf16:
      return sum_of_squares<__nv_bfloat16>(x, size, partial_sums, stream);
  }
}

}  // namespace sisa::parallel
