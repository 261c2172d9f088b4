// Eight bf16 numbers at a time, 16 bytes, and sums over a warp.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "model/kernels/kernels.h"

namespace sisa::model::kernels {

struct Float8 {
  float v[8];
};

__device__ inline Float8 unpack8(const uint4& bits) {
  const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
  Float8 result;
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // a bf16 is the upper half of a float
    result.v[2 * i] = __uint_as_float(words[i] << 16);
    result.v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
  return result;
}

__device__ inline Float8 load8(const Bf16* from) {
  return unpack8(*reinterpret_cast<const uint4*>(from));
}

__device__ inline Float8 load8(const float* from) {
  const float4 a = *reinterpret_cast<const float4*>(from), b = *reinterpret_cast<const float4*>(from + 4);
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

__device__ inline uint4 pack8(const Float8& x) {
  return make_uint4(pack(x.v[0], x.v[1]), pack(x.v[2], x.v[3]), pack(x.v[4], x.v[5]), pack(x.v[6], x.v[7]));
}

__device__ inline void store8(Bf16* to, const Float8& x) {
  *reinterpret_cast<uint4*>(to) = pack8(x);
}

__device__ inline float to_float(Bf16 bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}
__device__ inline Bf16 to_bf16(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

__device__ inline int lane() {
  return static_cast<int>(threadIdx.x) % 32;
}
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}

// kernel<<<grid, threads, shared_bytes, stream>>>(arguments …). Throws if it cannot be launched.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 threads, int64_t shared_bytes,
            void* stream, Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = threads;
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = static_cast<cudaStream_t>(stream);
  const cudaError_t result = cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
  if (result != cudaSuccess)
    throw std::runtime_error(std::string("launch of the CUDA kernel ") + name + " failed with code " +
                             std::to_string(result) + ": " + cudaGetErrorString(result));
}

}  // namespace sisa::model::kernels
