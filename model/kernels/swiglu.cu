// A block takes a row.
#include "model/kernels/vector.cuh"

namespace sisa::model::kernels {
namespace {

__device__ float sigmoid(float x) {
  return 1 / (1 + __expf(-x));
}

__global__ void forward_kernel(const Bf16* gate_up, int columns, Bf16* output) {
  const Bf16* row = gate_up + static_cast<int64_t>(blockIdx.x) * 2 * columns;
  for (int column = 8 * threadIdx.x; column < columns; column += 8 * blockDim.x) {
    Float8 gate = load8(row + column);
    const Float8 up = load8(row + columns + column);
#pragma unroll
    for (int j = 0; j < 8; ++j) gate.v[j] *= sigmoid(gate.v[j]) * up.v[j];
    store8(output + static_cast<int64_t>(blockIdx.x) * columns + column, gate);
  }
}

__global__ void backward_kernel(const Bf16* gate_up, const Bf16* output_gradient, int columns,
                                Bf16* gradient) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * 2 * columns;
  for (int column = 8 * threadIdx.x; column < columns; column += 8 * blockDim.x) {
    Float8 gate = load8(gate_up + begin + column), up = load8(gate_up + begin + columns + column);
    const Float8 d = load8(output_gradient + static_cast<int64_t>(blockIdx.x) * columns + column);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float s = sigmoid(gate.v[j]), silu = gate.v[j] * s;
      gate.v[j] = d.v[j] * up.v[j] * (s + silu * (1 - s));
      up.v[j] = d.v[j] * silu;
    }
    store8(gradient + begin + column, gate);
    store8(gradient + begin + columns + column, up);
  }
}

unsigned threads_for(int64_t columns) {
  const int64_t warps = (columns / 8 + 31) / 32;
  return static_cast<unsigned>(32 * (warps < 8 ? warps : 8));
}

}  // namespace

void swiglu(const Bf16* gate_up, int64_t rows, int64_t columns, Bf16* output, void* stream) {
  launch("swiglu", forward_kernel, static_cast<unsigned>(rows), threads_for(columns), 0, stream, gate_up,
         static_cast<int>(columns), output);
}

void swiglu_backward(const Bf16* gate_up, const Bf16* output_gradient, int64_t rows, int64_t columns,
                     Bf16* gradient, void* stream) {
  launch("swiglu_backward", backward_kernel, static_cast<unsigned>(rows), threads_for(columns), 0, stream,
         gate_up, output_gradient, static_cast<int>(columns), gradient);
}

}  // namespace sisa::model::kernels
