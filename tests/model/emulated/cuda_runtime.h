// Stands in for CUDA's header of that name, so that kernels run on the CPU, slowly, where a test can look at
// what they compute. What this cannot show is a missing barrier that happens not to matter in its order of
// execution, and speed.
//
// The threads of a block are fibers of one thread of the CPU, so that `thread_local` is shared memory. Each
// runs up to its next barrier, warp after warp or in a random order (shuffle); blocks run one after the
// other. All threads of a block, or lanes of a warp, that have not returned must come to each of its
// barriers.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __shared__ thread_local
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

struct alignas(8) float2 {
  float x, y;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

using std::max;
using std::min;
inline float rsqrtf(float x) {
  return 1 / std::sqrt(x);
}
inline float __expf(float x) {
  return std::exp(x);
}
inline void __sincosf(float x, float* sine, float* cosine) {
  *sine = std::sin(x);
  *cosine = std::cos(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
template <typename T>
T atomicAdd(T* to, T x) {
  const T before = *to;
  *to += x;
  return before;
}
inline void __threadfence() {}

namespace sisa::emulated {

// Runs `kernel` in every thread of every block.
void run(dim3 grid, dim3 block, const std::function<void()>& kernel);
// From now on warps of a block have ranks, drawn anew for each block from `seed` on: of those that can go on,
// the first does, until it waits. 0: they take turns.
void shuffle(unsigned seed);
void block_barrier();
// One of 16 barriers of that many threads.
void arrive_at(int barrier, int threads);
void wait_at(int barrier, int threads);
void warp_barrier();
// Lets other threads run until it holds. It is asked outside of this thread's stack and may not wait itself.
void wait_until(const std::function<bool()>& condition);
// The value that lane `source` of this warp passes to the same call.
double exchange(double value, int source);
inline int thread() {
  return static_cast<int>(threadIdx.x + threadIdx.y * blockDim.x);
}
inline int lane() {
  return thread() % 32;
}
bool first_in_block();  // whether no other thread has asked in this block

// A T for each address, or each thread, that lasts as long as the block.
int64_t block_number();
template <typename T>
T& of_block(const void* address) {
  static int64_t number = -1;
  static std::map<const void*, T> all;
  if (std::exchange(number, block_number()) != block_number()) all.clear();
  return all[address];
}
template <typename T>
T& of_thread() {
  static int64_t number = -1;
  static std::map<int, T> all;
  if (std::exchange(number, block_number()) != block_number()) all.clear();
  return all[thread()];
}

}  // namespace sisa::emulated

inline void __syncthreads() {
  sisa::emulated::block_barrier();
}
inline void __syncwarp() {
  sisa::emulated::warp_barrier();
}
template <typename T>
T __shfl_sync(unsigned, T x, int source) {
  return static_cast<T>(sisa::emulated::exchange(x, source));
}
template <typename T>
T __shfl_xor_sync(unsigned, T x, int mask) {
  return static_cast<T>(sisa::emulated::exchange(x, sisa::emulated::lane() ^ mask));
}
template <typename T>
T __shfl_up_sync(unsigned, T x, int distance) {
  const int from = sisa::emulated::lane() - distance;
  return static_cast<T>(sisa::emulated::exchange(x, from < 0 ? sisa::emulated::lane() : from));
}

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
inline const char* cudaGetErrorString(cudaError_t) {
  return "";
}
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};
template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
  sisa::emulated::run(config->gridDim, config->blockDim, [&] { kernel(arguments...); });
  return cudaSuccess;
}
