// A block takes a row, which it reads once: a thread keeps its vectors of 4 logits in registers.
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
    kernel(const float* logits, const int64_t* targets, int columns, int vocab_size, float* losses,
           Bf16* gradients) {
  __shared__ float maxima[32], sums[32];
  const float* row = logits + static_cast<int64_t>(blockIdx.x) * columns;
  const int target = static_cast<int>(targets[blockIdx.x]);
  float4 x[V];
  float maximum = -CUDART_INF_F;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int column = 4 * (static_cast<int>(threadIdx.x) + num_threads * i);
    x[i] = column < columns ? *reinterpret_cast<const float4*>(row + column)
                            : make_float4(-CUDART_INF_F, -CUDART_INF_F, -CUDART_INF_F, -CUDART_INF_F);
    if (column + 3 >= vocab_size) {
      if (column >= vocab_size) x[i].x = -CUDART_INF_F;
      if (column + 1 >= vocab_size) x[i].y = -CUDART_INF_F;
      if (column + 2 >= vocab_size) x[i].z = -CUDART_INF_F;
      x[i].w = -CUDART_INF_F;
    }
    maximum = fmaxf(maximum, fmaxf(fmaxf(x[i].x, x[i].y), fmaxf(x[i].z, x[i].w)));
  }
  maximum = reduce(maximum, maxima, [](float a, float b) { return fmaxf(a, b); });
  float sum = 0;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    x[i] = make_float4(__expf(x[i].x - maximum), __expf(x[i].y - maximum), __expf(x[i].z - maximum),
                       __expf(x[i].w - maximum));
    sum += (x[i].x + x[i].y) + (x[i].z + x[i].w);
  }
  sum = reduce(sum, sums, [](float a, float b) { return a + b; });
  if (threadIdx.x == 0) losses[blockIdx.x] = maximum + logf(sum) - row[target];
  const float scale = 1 / sum;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int column = 4 * (static_cast<int>(threadIdx.x) + num_threads * i);
    if (column >= columns) continue;
    const auto entry = [&](float p, int j) { return p * scale - (column + j == target ? 1.f : 0.f); };
    *reinterpret_cast<uint2*>(gradients + static_cast<int64_t>(blockIdx.x) * columns + column) =
        make_uint2(pack(entry(x[i].x, 0), entry(x[i].y, 1)), pack(entry(x[i].z, 2), entry(x[i].w, 3)));
  }
}

}  // namespace

void cross_entropy(const float* logits, const int64_t* targets, int64_t rows, int64_t columns,
                   int64_t vocab_size, float* losses, Bf16* gradients, void* stream) {
  const auto launch_with = [&](auto v) {
    launch("cross_entropy", kernel<v()>, static_cast<unsigned>(rows), num_threads, 0, stream, logits, targets,
           static_cast<int>(columns), static_cast<int>(vocab_size), losses, gradients);
  };
  const int64_t vectors = (columns + 4 * num_threads - 1) / (4 * num_threads);
  if (columns % 4 != 0 || columns > most_logits)
    throw std::invalid_argument("cross_entropy of " + std::to_string(columns) + " columns");
  if (vectors <= 1)
    launch_with(std::integral_constant<int, 1>());
  else if (vectors <= 8)
    launch_with(std::integral_constant<int, 8>());
  else if (vectors <= 13)
    launch_with(std::integral_constant<int, 13>());
  else
    launch_with(std::integral_constant<int, 16>());
}

}  // namespace sisa::model::kernels
