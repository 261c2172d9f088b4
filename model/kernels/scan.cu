// Running sums of the gates along the sequence, and of their gradients against it.
//
// A block has 8 neighbouring gates of one sequence, a sector of memory, and walks along the tokens in tiles:
// a thread takes `per_thread` of them, and its sum goes to those after it.
#include "model/kernels/vector.cuh"

namespace sisa::model::kernels {
namespace {

constexpr int num_gates = 8, num_parts = 32, per_thread = 8, tile = num_parts * per_thread;  // tokens
constexpr double two_pi = 6.283185307179586476925286766559;

__device__ float softplus(float x) {
  return fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
}
__device__ float sigmoid(float x) {
  return 1 / (1 + expf(-x));
}

// For each gate, threadIdx.x, and each part, threadIdx.y: the sum of `own` over the parts before, plus
// `total`, which grows by all of them. A warp adds up one gate's parts.
struct Shared {
  double sums[num_parts][num_gates + 1], totals[num_gates];
};
__device__ double sum_before(double own, double& total, Shared& shared) {
  const int thread = static_cast<int>(threadIdx.y) * num_gates + static_cast<int>(threadIdx.x),
            gate = thread / num_parts, part = thread % num_parts;
  shared.sums[threadIdx.y][threadIdx.x] = own;
  __syncthreads();
  double sum = shared.sums[part][gate];
#pragma unroll
  for (int distance = 1; distance < num_parts; distance *= 2) {
    const double before = __shfl_up_sync(0xffffffffu, sum, distance);
    if (part >= distance) sum += before;
  }
  if (part == num_parts - 1) shared.totals[gate] = sum;
  const double before = __shfl_up_sync(0xffffffffu, sum, 1);
  shared.sums[part][gate] = part == 0 ? 0 : before;
  __syncthreads();
  const double result = total + shared.sums[threadIdx.y][threadIdx.x];
  total += shared.totals[threadIdx.x];
  __syncthreads();
  return result;
}

// What a block's column is.
struct Gate {
  int64_t sequence;
  int column;
  bool angle, alpha;
  int head;  // of alpha
};
__host__ __device__ int column_groups(const ChannelShape& s) {
  return static_cast<int>((s.gates + num_gates - 1) / num_gates);
}
__device__ Gate gate_of(const ChannelShape& s) {
  const int groups = column_groups(s), block = static_cast<int>(blockIdx.x),
            column = block % groups * num_gates + static_cast<int>(threadIdx.x),
            angles = static_cast<int>(s.num_angles);
  const bool angle = column < angles;
  return {block / groups, column, angle, !angle && s.decays && column < angles + s.heads, column - angles};
}

__global__ void __launch_bounds__(num_gates* num_parts)
    forward_kernel(ChannelShape s, const float* gates, const float* alpha_bias, float* phases,
                   double* decays) {
  __shared__ Shared shared;
  const Gate gate = gate_of(s);
  const int length = static_cast<int>(s.length);
  const int64_t first = gate.sequence * s.length;
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
    sum = sum_before(sum, total, shared);
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      if (begin + i >= length) continue;
      sum += x[i];
      if (gate.angle)
        phases[(first + begin + i) * s.num_angles + gate.column] =
            static_cast<float>(sum - two_pi * rint(sum * (1 / two_pi)));
      else if (gate.alpha)
        decays[(first + begin + i) * s.heads + gate.head] = sum;
    }
  }
}

__global__ void __launch_bounds__(num_gates* num_parts)
    backward_kernel(ChannelShape s, const float* gates, const float* alpha_bias, const float* sums,
                    Bf16* gradient, float* bias_gradients) {
  __shared__ Shared shared;
  const Gate gate = gate_of(s);
  const int length = static_cast<int>(s.length);
  const int64_t first = gate.sequence * s.length * s.gates + gate.column;
  const bool used = gate.angle || gate.alpha;
  const float bias = gate.alpha ? alpha_bias[gate.head] : 0;
  double total = 0;
  float bias_gradient = 0;
  // Counted from the last token back.
  for (int begin = static_cast<int>(threadIdx.y) * per_thread;
       begin - static_cast<int>(threadIdx.y) * per_thread < length; begin += tile) {
    float x[per_thread], alpha[per_thread];
    double sum = 0;
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {  // all that is read, before anything is written
      const int64_t place = first + (length - 1 - begin - i) * s.gates;
      x[i] = begin + i < length && used ? sums[place] : 0;
      alpha[i] = begin + i < length && gate.alpha ? gates[place] : 0;
    }
#pragma unroll
    for (int i = 0; i < per_thread; ++i) sum += x[i];
    sum = sum_before(sum, total, shared);
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      sum += x[i];
      if (begin + i >= length || gate.column >= s.gates) continue;
      float result = used ? static_cast<float>(sum) : 0;  // 0: of padding
      if (gate.alpha) {
        result *= -sigmoid(alpha[i] + bias);
        bias_gradient += result;
      }
      const int64_t token = gate.sequence * s.length + length - 1 - begin - i;
      gradient[token * (s.row + s.gates) + s.row + gate.column] = to_bf16(result);
    }
  }
  total = 0;
  sum_before(bias_gradient, total, shared);
  if (threadIdx.y == 0 && gate.alpha)
    bias_gradients[gate.sequence * s.heads + gate.head] = static_cast<float>(total);
}

dim3 grid(const ChannelShape& shape) {
  return static_cast<unsigned>(shape.batch * column_groups(shape));
}

}  // namespace

void scan_gates(const ChannelShape& shape, const float* gates, const float* alpha_bias, float* phases,
                double* decays, void* stream) {
  launch("scan_gates", forward_kernel, grid(shape), dim3(num_gates, num_parts), 0, stream, shape, gates,
         alpha_bias, phases, decays);
}

void scan_gates_backward(const ChannelShape& shape, const float* gates, const float* alpha_bias,
                         const float* sums, Bf16* gradient, float* bias_gradients, void* stream) {
  launch("scan_gates_backward", backward_kernel, grid(shape), dim3(num_gates, num_parts), 0, stream, shape,
         gates, alpha_bias, sums, gradient, bias_gradients);
}

}  // namespace sisa::model::kernels
