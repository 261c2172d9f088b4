// Running sums of the gates along the sequence, and of their gradients against it.
//
// A block has 32 neighbouring gates of one sequence, which a warp reads as one line of memory, and walks
// along the tokens in tiles: a thread takes `per_thread` of them, and its sum goes to those after it.
#include "model/kernels/vector.cuh"

namespace sisa::model::kernels {
namespace {

constexpr int num_parts = 32, per_thread = 16, tile = num_parts * per_thread;  // tokens
constexpr double two_pi = 6.283185307179586476925286766559;

__device__ float softplus(float x) {
  return fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
}
__device__ float sigmoid(float x) {
  return 1 / (1 + expf(-x));
}

// For each gate, threadIdx.x, and each part, threadIdx.y: the sum of `own` over the parts before, plus
// `total`, which grows by all of them. A warp adds up one gate's parts.
__device__ double sum_before(double own, double& total, double (&shared)[num_parts][33],
                             double (&totals)[32]) {
  shared[threadIdx.y][threadIdx.x] = own;
  __syncthreads();
  double sum = shared[threadIdx.x][threadIdx.y];
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const double before = __shfl_up_sync(0xffffffffu, sum, distance);
    if (static_cast<int>(threadIdx.x) >= distance) sum += before;
  }
  if (threadIdx.x == 31) totals[threadIdx.y] = sum;
  const double before = __shfl_up_sync(0xffffffffu, sum, 1);
  shared[threadIdx.x][threadIdx.y] = threadIdx.x == 0 ? 0 : before;
  __syncthreads();
  const double result = total + shared[threadIdx.y][threadIdx.x];
  total += totals[threadIdx.x];
  __syncthreads();
  return result;
}

// What a block's column is.
struct Gate {
  int column;
  bool angle, alpha;
  int head;  // of alpha
};
__device__ Gate gate_of(const ChannelShape& s) {
  const int column = static_cast<int>(blockIdx.x) * 32 + threadIdx.x, angles = static_cast<int>(s.num_angles);
  const bool angle = column < angles;
  return {column, angle, !angle && s.decays && column < angles + s.heads, column - angles};
}

__global__ void __launch_bounds__(1024)
    forward_kernel(ChannelShape s, const float* gates, const float* alpha_bias, float* phases,
                   double* decays) {
  __shared__ double shared[num_parts][33], totals[32];
  const Gate gate = gate_of(s);
  const int length = static_cast<int>(s.length);
  const int64_t first = blockIdx.y * s.length;
  const float bias = gate.alpha ? alpha_bias[gate.head] : 0;
  double total = 0;
  for (int begin = static_cast<int>(threadIdx.y) * per_thread;
       begin - static_cast<int>(threadIdx.y) * per_thread < length; begin += tile) {
    float x[per_thread];
#pragma unroll
    for (int i = 0; i < per_thread; ++i)
      x[i] = begin + i < length && (gate.angle || gate.alpha)
                 ? gates[(first + begin + i) * s.gates + gate.column]
                 : 0;
    double sum = 0;
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      if (gate.alpha) x[i] = -softplus(x[i] + bias);
      if (begin + i < length) sum += x[i];
    }
    sum = sum_before(sum, total, shared, totals);
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      if (begin + i >= length) continue;
      sum += x[i];
      if (gate.angle)
        phases[(first + begin + i) * s.num_angles + gate.column] =
            static_cast<float>(sum - two_pi * rint(sum / two_pi));
      else if (gate.alpha)
        decays[(first + begin + i) * s.heads + gate.head] = sum;
    }
  }
}

__global__ void __launch_bounds__(1024)
    backward_kernel(ChannelShape s, const float* gates, const float* alpha_bias, const float* sums,
                    Bf16* gradient, float* bias_gradients) {
  __shared__ double shared[num_parts][33], totals[32];
  const Gate gate = gate_of(s);
  const int length = static_cast<int>(s.length);
  const int64_t first = blockIdx.y * s.length * s.gates + gate.column;
  const bool used = gate.angle || gate.alpha;
  const float bias = gate.alpha ? alpha_bias[gate.head] : 0;
  double total = 0;
  float bias_gradient = 0;
  // Counted from the last token back.
  for (int begin = static_cast<int>(threadIdx.y) * per_thread;
       begin - static_cast<int>(threadIdx.y) * per_thread < length; begin += tile) {
    float x[per_thread];
    double sum = 0;
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      x[i] = begin + i < length && used ? sums[first + (length - 1 - begin - i) * s.gates] : 0;
      sum += x[i];
    }
    sum = sum_before(sum, total, shared, totals);
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      sum += x[i];
      if (begin + i >= length || gate.column >= s.gates) continue;
      const int64_t place = first + (length - 1 - begin - i) * s.gates;
      float result = used ? static_cast<float>(sum) : 0;  // 0: of padding
      if (gate.alpha) {
        result *= -sigmoid(gates[place] + bias);
        bias_gradient += result;
      }
      gradient[(blockIdx.y * s.length + length - 1 - begin - i) * (s.row + s.gates) + s.row + gate.column] =
          __bfloat16_as_ushort(__float2bfloat16_rn(result));
    }
  }
  total = 0;
  sum_before(bias_gradient, total, shared, totals);
  if (threadIdx.y == 0 && gate.alpha)
    bias_gradients[blockIdx.y * s.heads + gate.head] = static_cast<float>(total);
}

dim3 grid(const ChannelShape& shape) {
  return dim3(static_cast<unsigned>((shape.gates + 31) / 32), static_cast<unsigned>(shape.batch));
}

}  // namespace

void scan_gates(const ChannelShape& shape, const float* gates, const float* alpha_bias, float* phases,
                double* decays, void* stream) {
  launch("scan_gates", forward_kernel, grid(shape), dim3(32, num_parts), 0, stream, shape, gates, alpha_bias,
         phases, decays);
}

void scan_gates_backward(const ChannelShape& shape, const float* gates, const float* alpha_bias,
                         const float* sums, Bf16* gradient, float* bias_gradients, void* stream) {
  launch("scan_gates_backward", backward_kernel, grid(shape), dim3(32, num_parts), 0, stream, shape, gates,
         alpha_bias, sums, gradient, bias_gradients);
}

}  // namespace sisa::model::kernels
