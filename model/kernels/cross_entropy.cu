// A block takes a row, which it reads once: a thread keeps its vectors of 8 logits in registers, as bf16.
#include <math_constants.h>

#include "model/kernels/vector.cuh"

namespace sisa::model::kernels {
namespace {

constexpr int num_threads = 1024;

// Over the block; all threads get the result. `shared`: 32 numbers that nobody reads any more.
template <typename Combine>
__device__ float reduce(float x, float* shared, const Combine& combine) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, distance));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[threadIdx.x % 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, distance));
  return x;
}

template <int V>
__global__ void __launch_bounds__(num_threads)
    kernel(Bf16* logits, const int64_t* targets, int columns, int vocab_size, float* losses) {
  __shared__ float maxima[32], sums[32];
  Bf16* row = logits + static_cast<int64_t>(blockIdx.x) * columns;
  const int target = static_cast<int>(targets[blockIdx.x]);
  const float target_logit = to_float(row[target]);  // before anybody overwrites it
  const auto column_of = [](int i) { return 8 * (static_cast<int>(threadIdx.x) + num_threads * i); };
  uint4 x[V];
  float maximum = -CUDART_INF_F;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int column = column_of(i);
    constexpr uint32_t pair = 0xff80ff80u;  // -infinity twice
    x[i] =
        column < columns ? *reinterpret_cast<const uint4*>(row + column) : make_uint4(pair, pair, pair, pair);
    Float8 logit = unpack8(x[i]);
    if (column + 7 >= vocab_size) {
#pragma unroll
      for (int j = 0; j < 8; ++j)
        if (column + j >= vocab_size) logit.v[j] = -CUDART_INF_F;
      x[i] = pack8(logit);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) maximum = fmaxf(maximum, logit.v[j]);
  }
  maximum = reduce(maximum, maxima, [](float a, float b) { return fmaxf(a, b); });
  float sum = 0;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const Float8 logit = unpack8(x[i]);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += __expf(logit.v[j] - maximum);
  }
  const float log_sum = maximum + logf(reduce(sum, sums, [](float a, float b) { return a + b; }));
  if (threadIdx.x == 0) losses[blockIdx.x] = log_sum - target_logit;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int column = column_of(i);
    if (column >= columns) continue;
    Float8 gradient = unpack8(x[i]);
#pragma unroll
    for (int j = 0; j < 8; ++j) gradient.v[j] = __expf(gradient.v[j] - log_sum);
    store8(row + column, gradient);
    if (target / 8 == column / 8) row[target] = to_bf16(__expf(target_logit - log_sum) - 1);
  }
}

}  // namespace

void cross_entropy(Bf16* logits, const int64_t* targets, int64_t rows, int64_t columns, int64_t vocab_size,
                   float* losses, void* stream) {
  const auto launch_with = [&](auto v) {
    launch("cross_entropy", kernel<v()>, static_cast<unsigned>(rows), num_threads, 0, stream, logits, targets,
           static_cast<int>(columns), static_cast<int>(vocab_size), losses);
  };
  const int64_t vectors = (columns + 8 * num_threads - 1) / (8 * num_threads);
  if (columns % 8 != 0 || columns > most_logits)
    throw std::invalid_argument("cross_entropy of " + std::to_string(columns) + " columns");
  if (vectors <= 1)
    launch_with(std::integral_constant<int, 1>());
  else if (vectors <= 4)
    launch_with(std::integral_constant<int, 4>());
  else if (vectors <= 7)
    launch_with(std::integral_constant<int, 7>());
  else
    launch_with(std::integral_constant<int, 8>());
}

}  // namespace sisa::model::kernels
