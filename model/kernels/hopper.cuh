// What a Hopper GPU (compute capability 9.0a) has for kernels of matrix products: tiles of bf16 in shared
// memory, copies of tiles by the tensor memory accelerator, barriers that count their bytes, and products by
// warpgroups of 128 threads, which run while the threads go on.
//
// tests/model/emulated has the same on the CPU.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "model/kernels/tile.h"
#include "model/kernels/vector.cuh"

namespace sisa::model::kernels::hopper {

constexpr int warpgroup = 128;         // threads
__device__ inline int group_index() {  // from one lane, so that the compiler sees that all agree
  return __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / warpgroup, 0);
}

bool present();  // whether the current device is such a GPU

__device__ inline uint32_t address_of(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// The block's dynamic shared memory, from the first multiple of 1024 bytes on: tiles begin at such.
constexpr int shared_alignment = 1024;
__device__ inline uint8_t* shared_memory() {
  extern __shared__ uint8_t bytes[];
  return bytes + (shared_alignment - address_of(bytes) % shared_alignment) % shared_alignment;
}

// launch() for a kernel that uses that much of it.
template <typename... Parameters, typename... Arguments>
void launch_with_shared(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 threads, int bytes,
                        void* stream, Arguments... arguments) {
  bytes += shared_alignment;
  const cudaError_t result = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (result != cudaSuccess)
    throw std::runtime_error(std::string(name) + " cannot have " + std::to_string(bytes) +
                             " bytes of shared memory: " + cudaGetErrorString(result));
  launch(name, kernel, grid, threads, bytes, stream, arguments...);
}

using TensorMap = CUtensorMap;
TensorMap tensor_map(const Tensor& tensor, const Box& box);  // throws if the driver refuses
template <typename Tile>
TensorMap tensor_map_for(const Tensor& tensor) {
  return tensor_map(tensor, {Tile::rows, Tile::chunk, Tile::number_bytes});
}

// Counts arrivals and bytes; a phase ends when both are complete, and the next begins.
class Barrier {
 public:
  __device__ void init(int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address_of(this)), "r"(arrivals));
  }
  __device__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address_of(this)) : "memory");
  }
  __device__ void arrive_expecting(int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address_of(this)), "r"(bytes)
                 : "memory");
  }
  // Until the phase of that parity has ended; the first phase has 0.
  __device__ void wait(int parity) {
    asm volatile(
        "{\n.reg .pred done;\n"
        "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n}" ::"r"(address_of(this)),
        "r"(parity)
        : "memory");
  }

 private:
  uint64_t state_;
};
// After init, before other threads or copies use the barriers; __syncthreads follows.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// One thread's: the tile's rows from token `token` on, from channel `channel`; missing tokens are zeros.
template <typename Tile>
__device__ void load(const Tile& tile, const TensorMap& map, Barrier& barrier, int channel, int head,
                     int token, int sequence) {
#pragma unroll
  for (int i = 0; i < Tile::num_chunks; ++i)
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, "
        "%6}], [%2];" ::"r"(address_of(tile.data + i * Tile::chunk_bytes)),
        "l"(&map), "r"(address_of(&barrier)), "r"(channel + i * Tile::chunk), "r"(head), "r"(token),
        "r"(sequence)
        : "memory");
}
// Of `count` numbers, a multiple of 4; both sides begin at multiples of 16 bytes.
__device__ inline void load(float* shared, const float* global, int count, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          address_of(shared)),
      "l"(global), "r"(static_cast<int>(count * sizeof(float))), "r"(address_of(&barrier))
      : "memory");
}
// The other way: what threads have written to the tile, and made visible by publish_tile, each of them,
// before a barrier.
template <typename Tile>
__device__ void store(const Tile& tile, const TensorMap& map, int channel, int head, int token,
                      int sequence) {
#pragma unroll
  for (int i = 0; i < Tile::num_chunks; ++i)
    asm volatile(
        "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
        "r"(address_of(tile.data + i * Tile::chunk_bytes)), "r"(channel + i * Tile::chunk), "r"(head),
        "r"(token), "r"(sequence)
        : "memory");
}
// The same, added to what is there; each number by itself, in any order.
template <typename Tile>
__device__ void add(const Tile& tile, const TensorMap& map, int channel, int head, int token, int sequence) {
#pragma unroll
  for (int i = 0; i < Tile::num_chunks; ++i)
    asm volatile(
        "cp.reduce.async.bulk.tensor.4d.global.shared::cta.add.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::
            "l"(&map),
        "r"(address_of(tile.data + i * Tile::chunk_bytes)), "r"(channel + i * Tile::chunk), "r"(head),
        "r"(token), "r"(sequence)
        : "memory");
}
// By the thread that called for them, after the last: begins; waits until tiles may be written again, or the
// block may end; until others may read what was stored.
__device__ inline void start_stores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
__device__ inline void wait_until_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
__device__ inline void wait_until_stored() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
__device__ inline void publish_tile() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// One of a block's barriers 1 to 15, of that many threads: those that arrive go on, those that wait do so for
// all.
__device__ inline void arrive_at(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ inline void wait_at(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// Of each thread of this warpgroup, from now on: a multiple of 8. A block is launched with an equal share for
// all.
template <int Registers>
__device__ void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

__device__ inline float exp2_approx(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
// Of a number in global memory: makes what the thread knows to be there known to those who wait for it; waits
// until it is at least `value`.
__device__ inline void count_up(int* number, int more) {
  asm volatile("fence.proxy.async.global;\nred.release.gpu.global.add.s32 [%0], %1;" ::"l"(number), "r"(more)
               : "memory");
}
__device__ inline void wait_for(const int* number, int value) {
  int seen = 0;
  do {
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(seen) : "l"(number) : "memory");
  } while (seen < value);
  asm volatile("fence.proxy.async.global;" ::: "memory");
}

// An operand of a product in shared memory, 16 of its columns (rows, if transposed) at a time: where it
// begins, and how the hardware finds the rest.
struct Operand {
  uint32_t low, high;
};
// Keeps the compiler from computing what depends on x before this point, and from holding it in registers.
template <typename T>
__device__ T opaque(T x) {
  asm volatile("" : "+r"(x));
  return x;
}
// Of the tile, from `begin` bytes on.
template <typename Tile>
__device__ Operand operand(const Tile& tile, int begin) {
  // The permutation of 128, 64 or 32 bytes a row; between groups of 8 rows; between chunks. In units of 16
  // bytes.
  constexpr uint32_t permutation = Tile::row_bytes == 128 ? 1 : Tile::row_bytes == 64 ? 2 : 3;
  constexpr uint32_t high = permutation << 30 | 8 * Tile::row_bytes / 16;
  return {opaque((address_of(tile.data) + begin) / 16 | Tile::chunk_bytes / 16 << 16), high};
}
// Rows from `row`, a multiple of 8, on; [k]: columns 16 k to 16 k + 15.
template <typename Tile>
struct Rows {
  Operand first;
  __device__ Operand operator[](int k) const {
    constexpr int steps = Tile::chunk / 16;
    return {first.low + (k / steps * Tile::chunk_bytes + k % steps * 32) / 16, first.high};
  }
};
template <typename Tile>
__device__ Rows<Tile> rows_of(const Tile& tile, int row) {
  return {operand(tile, row * Tile::row_bytes)};
}
// The transpose: columns from `column` on, a multiple of 8; [k]: rows 16 k to 16 k + 15.
template <typename Tile>
struct Columns {
  Operand first;
  __device__ Operand operator[](int k) const { return {first.low + k * Tile::row_bytes, first.high}; }
};
template <typename Tile>
__device__ Columns<Tile> columns_of(const Tile& tile, int column) {
  return {operand(tile, column / Tile::chunk * Tile::chunk_bytes + column % Tile::chunk * 2)};
}

// 16 x 16 numbers in the registers of a warp, as `a` of a product from registers has them: thread i has rows
// i / 4 (a[0], a[2]) and i / 4 + 8 (a[1], a[3]), columns 2 (i % 4) and the next (a[0], a[1]) and those 8
// further.
using Block16 = uint32_t[4];
template <typename Tile>
__device__ void store_block(const Tile& tile, int row, int column, const Block16& a) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                   address_of(tile.at(row + lane() % 16, column + lane() / 16 * 8))),
               "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])
               : "memory");
}
// The transpose of such a block, to an address of the tile's rows from `row`, a multiple of 8, on; of rows
// that are 8 apart addresses are 8 row_bytes apart.
using Address = uint32_t;
template <typename Tile>
__device__ Address transposed_address(const Tile& tile, int row, int column) {
  return opaque(address_of(tile.at(row + lane() % 8 + lane() / 16 * 8, column + lane() / 8 % 2 * 8)));
}
__device__ inline void store_transposed(Address to, const Block16& a) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(a[0]),
               "r"(a[1]), "r"(a[2]), "r"(a[3])
               : "memory");
}
// Of two numbers of a tile of floats, from an even column below 8 on. Another 8 columns, in its chunk, are
// where its bits differ by theirs in bytes.
template <typename Tile>
__device__ Address pair_address(const Tile& tile, int row, int column) {
  return opaque(address_of(tile.at(row, column / 4 * 4) + column % 4 * 4));
}
__device__ inline void store_pair(Address to, float x, float y) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(x), "f"(y) : "memory");
}
template <typename Tile>
__device__ void load_block(const Tile& tile, int row, int column, Block16& a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address_of(tile.at(row + lane() % 16, column + lane() / 16 * 8)))
               : "memory");
}

template <int Size>
__device__ void touch(float (&x)[Size]) {  // the compiler moves no access to x across this
#pragma unroll
  for (int i = 0; i < Size; ++i) asm volatile("" : "+f"(x[i])::"memory");
}
__device__ inline void touch(Block16& x) {
#pragma unroll
  for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(x[i])::"memory");
}
template <int Size>
__device__ void touch(Block16 (&x)[Size]) {
#pragma unroll
  for (int i = 0; i < Size; ++i) touch(x[i]);
}
// Between ordinary writes of accumulators and of operands in registers, which are to be named, and products
// that use them.
template <typename... Registers>
__device__ void mma_begin(Registers&... registers) {
  (touch(registers), ...);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void mma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until all but the last `Groups` committed groups are done; their accumulators, to be named, are then
// readable.
template <int Groups, int... Sizes>
__device__ void mma_wait(float (&... accumulators)[Sizes]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Groups) : "memory");
  (touch(accumulators), ...);
}

#define SISA_LIST8(f, i) f(i), f(i + 1), f(i + 2), f(i + 3), f(i + 4), f(i + 5), f(i + 6), f(i + 7)
#define SISA_ACCUMULATOR(i) "+f"(d[i])
#define SISA_ACCUMULATORS4 SISA_ACCUMULATOR(0), SISA_ACCUMULATOR(1), SISA_ACCUMULATOR(2), SISA_ACCUMULATOR(3)
#define SISA_ACCUMULATORS8 SISA_LIST8(SISA_ACCUMULATOR, 0)
#define SISA_ACCUMULATORS16 SISA_ACCUMULATORS8, SISA_LIST8(SISA_ACCUMULATOR, 8)
#define SISA_ACCUMULATORS32 \
  SISA_ACCUMULATORS16, SISA_LIST8(SISA_ACCUMULATOR, 16), SISA_LIST8(SISA_ACCUMULATOR, 24)
#define SISA_ACCUMULATORS64                                                                \
  SISA_ACCUMULATORS32, SISA_LIST8(SISA_ACCUMULATOR, 32), SISA_LIST8(SISA_ACCUMULATOR, 40), \
      SISA_LIST8(SISA_ACCUMULATOR, 48), SISA_LIST8(SISA_ACCUMULATOR, 56)
#define SISA_NAMES4 "%0, %1, %2, %3"
#define SISA_NAMES8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define SISA_NAMES16 SISA_NAMES8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define SISA_NAMES32 \
  SISA_NAMES16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SISA_NAMES64                                                                                       \
  SISA_NAMES32                                                                                             \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, " \
  "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// 64 x N numbers: d = a b^T, or d += a b^T. a: 64 rows in shared memory, or the 16 of each warp in registers;
// b: N rows (Side::rows) or the transpose of N columns. Thread i of the warpgroup has of d, for each n from 0
// on, in row 16 (i / 32) + i % 32 / 4 and columns 8 n + 2 (i % 4) and the next: d[4 n], d[4 n + 1]; and 8
// rows further d[4 n + 2], d[4 n + 3].
enum class Side { rows, columns };
template <int N, Side side>
struct Mma;
// The names of what follows the accumulators, from 0 on: operands in shared memory are pairs of words.
#define SISA_MMA(N, SIZE, A0, A1, A2, A3, A4, A5, A6, A7)                                           \
  template <Side side>                                                                              \
  struct Mma<N, side> {                                                                             \
    __device__ static void run(float (&d)[SIZE], const Operand& a, const Operand& b, int add) {     \
      asm volatile("{\n.reg .pred add;\n.reg .b64 a, b;\nsetp.ne.b32 add, %" A4                     \
                   ", 0;\n"                                                                         \
                   "mov.b64 a, {%" A0 ", %" A1 "};\nmov.b64 b, {%" A2 ", %" A3                      \
                   "};\n"                                                                           \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" SISA_NAMES##SIZE    \
                   "}, a, b, add, 1, 1, 0, %" A5 ";\n}"                                             \
                   : SISA_ACCUMULATORS##SIZE                                                        \
                   : "r"(a.low), "r"(a.high), "r"(b.low), "r"(b.high), "r"(add),                    \
                     "n"(static_cast<int>(side)));                                                  \
    }                                                                                               \
    __device__ static void run(float (&d)[SIZE], const Block16& a, const Operand& b, int add) {     \
      asm volatile("{\n.reg .pred add;\n.reg .b64 b;\nsetp.ne.b32 add, %" A6                        \
                   ", 0;\n"                                                                         \
                   "mov.b64 b, {%" A4 ", %" A5                                                      \
                   "};\n"                                                                           \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" SISA_NAMES##SIZE    \
                   "}, {%" A0 ", %" A1 ", %" A2 ", %" A3 "}, b, add, 1, 1, %" A7 ";\n}"             \
                   : SISA_ACCUMULATORS##SIZE                                                        \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "r"(b.high), "r"(add), \
                     "n"(static_cast<int>(side)));                                                  \
    }                                                                                               \
  };
SISA_MMA(8, 4, "4", "5", "6", "7", "8", "9", "10", "11")
SISA_MMA(16, 8, "8", "9", "10", "11", "12", "13", "14", "15")
SISA_MMA(32, 16, "16", "17", "18", "19", "20", "21", "22", "23")
SISA_MMA(64, 32, "32", "33", "34", "35", "36", "37", "38", "39")
SISA_MMA(128, 64, "64", "65", "66", "67", "68", "69", "70", "71")

template <int N, Side side, typename A>
__device__ void mma(float (&d)[N / 2], const A& a, const Operand& b, bool add) {
  Mma<N, side>::run(d, a, b, add);
}

}  // namespace sisa::model::kernels::hopper
