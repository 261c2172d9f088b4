// A warp takes a row; a lane has its vectors of 8 numbers, `lane + 32 i`, in registers.
#include "model/kernels/vector.cuh"

namespace sisa::model::kernels {
namespace {

constexpr int num_warps = 8, num_threads = 32 * num_warps;
constexpr int num_blocks_backward = 528;  // 4 for each of an H100's multiprocessors

template <int V>
__global__ void forward_kernel(const Bf16* x, const Bf16* delta, const float* weight, float epsilon,
                               int64_t rows, Bf16* sum, Bf16* normed, float* scales) {
  constexpr int columns = 256 * V;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * num_warps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (row >= rows) return;
  Float8 values[V];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int64_t place = row * columns + 8 * (lane + 32 * i);
    values[i] = load8(x + place);
    if (delta) {
      const Float8 more = load8(delta + place);
#pragma unroll
      for (int j = 0; j < 8; ++j) values[i].v[j] += more.v[j];
      store8(sum + place, values[i]);
#pragma unroll
      for (int j = 0; j < 8; ++j)  // the sum as it is stored
        values[i].v[j] = __bfloat162float(__float2bfloat16_rn(values[i].v[j]));
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) squares += values[i].v[j] * values[i].v[j];
  }
  const float scale = rsqrtf(warp_sum(squares) / columns + epsilon);
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int column = 8 * (lane + 32 * i);
#pragma unroll
    for (int j = 0; j < 8; ++j) values[i].v[j] *= scale * weight[column + j];
    store8(normed + row * columns + column, values[i]);
  }
  if (lane == 0) scales[row] = scale;
}

// With n = x scale: gradient of x = scale (w dy - n mean(w dy n)), of w = sum over rows of dy n.
template <int V>
__global__ void backward_kernel(const Bf16* sum, const float* scales, const float* weight,
                                const Bf16* sum_gradient, const Bf16* normed_gradient, int64_t rows,
                                Bf16* gradient, float* partial_sums) {
  constexpr int columns = 256 * V;
  __shared__ float shared[num_warps][columns];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float weight_gradient[V][8] = {};
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * num_warps + warp; row < rows;
       row += static_cast<int64_t>(gridDim.x) * num_warps) {
    const float scale = scales[row];
    Float8 n[V], wdy[V];
    float dot = 0;
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const int column = 8 * (lane + 32 * i);
      n[i] = load8(sum + row * columns + column);
      wdy[i] = load8(normed_gradient + row * columns + column);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        n[i].v[j] *= scale;
        weight_gradient[i][j] += wdy[i].v[j] * n[i].v[j];
        wdy[i].v[j] *= weight[column + j];
        dot += wdy[i].v[j] * n[i].v[j];
      }
    }
    const float mean = warp_sum(dot) / columns;
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const int64_t place = row * columns + 8 * (lane + 32 * i);
      Float8 result{};
      if (sum_gradient) result = load8(sum_gradient + place);
#pragma unroll
      for (int j = 0; j < 8; ++j) result.v[j] += scale * (wdy[i].v[j] - n[i].v[j] * mean);
      store8(gradient + place, result);
    }
  }
#pragma unroll
  for (int i = 0; i < V; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j) shared[warp][8 * (lane + 32 * i) + j] = weight_gradient[i][j];
  __syncthreads();
  for (int column = threadIdx.x; column < columns; column += num_threads) {
    float total = 0;
    for (int w = 0; w < num_warps; ++w) total += shared[w][column];
    partial_sums[static_cast<int64_t>(blockIdx.x) * columns + column] = total;
  }
}

// Adds the sums over all rows of `partial_sums` (rows, columns) to `out`: 32 columns a block.
__global__ void add_columns_kernel(const float* partial_sums, int rows, int columns, float* out) {
  __shared__ float shared[32][33];
  const int column = blockIdx.x * 32 + threadIdx.x;
  float total = 0;
  for (int row = threadIdx.y; row < rows; row += 32) total += partial_sums[row * columns + column];
  shared[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y > 0) return;
  for (int i = 1; i < 32; ++i) total += shared[i][threadIdx.x];
  out[column] += total;
}

int blocks_backward(int64_t rows) {
  const int64_t all = (rows + num_warps - 1) / num_warps;
  return static_cast<int>(all < num_blocks_backward ? all : num_blocks_backward);
}

template <typename Launch>
void for_columns(int64_t columns, const Launch& launch) {
  switch (columns / 256) {
    case 1:
      return launch(std::integral_constant<int, 1>());
    case 2:
      return launch(std::integral_constant<int, 2>());
    case 3:
      return launch(std::integral_constant<int, 3>());
    case 4:
      return launch(std::integral_constant<int, 4>());
    default:
      throw std::invalid_argument("rms_norm of " + std::to_string(columns) + " columns");
  }
}

}  // namespace

bool norm_fits(int64_t columns) {
  return columns % 256 == 0 && columns > 0 && columns <= 1024;
}

int64_t norm_partial_sums(int64_t columns) {
  return num_blocks_backward * columns;
}

void rms_norm(const Bf16* x, const Bf16* delta, const float* weight, float epsilon, int64_t rows,
              int64_t columns, Bf16* sum, Bf16* normed, float* scales, void* stream) {
  for_columns(columns, [&](auto v) {
    launch("rms_norm", forward_kernel<v()>, static_cast<unsigned>((rows + num_warps - 1) / num_warps),
           num_threads, 0, stream, x, delta, weight, epsilon, rows, sum, normed, scales);
  });
}

void rms_norm_backward(const Bf16* sum, const float* scales, const float* weight, const Bf16* sum_gradient,
                       const Bf16* normed_gradient, int64_t rows, int64_t columns, Bf16* gradient,
                       float* weight_gradient, float* partial_sums, void* stream) {
  const int num_blocks = blocks_backward(rows);
  for_columns(columns, [&](auto v) {
    launch("rms_norm_backward", backward_kernel<v()>, static_cast<unsigned>(num_blocks), num_threads, 0,
           stream, sum, scales, weight, sum_gradient, normed_gradient, rows, gradient, partial_sums);
  });
  launch("add_columns", add_columns_kernel, static_cast<unsigned>(columns / 32), dim3(32, 32), 0, stream,
         partial_sums, num_blocks, static_cast<int>(columns), weight_gradient);
}

}  // namespace sisa::model::kernels
