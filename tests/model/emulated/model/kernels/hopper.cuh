// Stands in for the header of that name: what a Hopper GPU has, on the CPU. See cuda_runtime.h two folders
// up.
//
// Copies and products happen as late as they may: a copy when somebody waits for its barrier or for stores, a
// product when its group is waited for. So a kernel that does not wait, or that overwrites too early what
// they read, computes something else here. For a GPU to test remain how operands are encoded for the
// hardware, fences, which do nothing here, and turns between blocks, which run one after the other. An
// operand in registers is read when its product is called for; a warp reads its own rows of one in shared
// memory.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "model/kernels/tile.h"
#include "model/kernels/vector.cuh"

namespace sisa::model::kernels::hopper {

constexpr int warpgroup = 128;
inline int group_index() {
  return emulated::thread() / warpgroup;
}

inline bool present() {
  return true;
}

// Holds NaN when a block begins.
constexpr int shared_alignment = 1024, most_shared_bytes = 227 << 10;
inline uint8_t* shared_memory() {
  static std::vector<uint8_t> bytes(most_shared_bytes + shared_alignment);
  uint8_t* begin =
      bytes.data() +
      (shared_alignment - reinterpret_cast<uintptr_t>(bytes.data()) % shared_alignment) % shared_alignment;
  if (emulated::first_in_block()) std::memset(begin, 0xff, most_shared_bytes);
  return begin;
}
template <typename... Parameters, typename... Arguments>
void launch_with_shared(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 threads, int bytes,
                        void* stream, Arguments... arguments) {
  if (bytes + shared_alignment > most_shared_bytes) throw std::runtime_error("a GPU has less shared memory");
  launch(name, kernel, grid, threads, bytes, stream, arguments...);
}

struct TensorMap {
  Tensor tensor;
  Box box;
  template <typename Number>
  Number* at(int64_t channel, int64_t head, int64_t token, int64_t sequence) const {
    const Tensor& t = tensor;
    if (channel >= t.channels || head >= t.heads || token >= t.tokens || sequence >= t.batch) return nullptr;
    return static_cast<Number*>(const_cast<void*>(t.data)) + sequence * t.batch_stride +
           token * t.token_stride + head * t.head_stride + channel;
  }
};
inline TensorMap tensor_map(const Tensor& tensor, const Box& box) {
  return {tensor, box};
}
template <typename Tile>
TensorMap tensor_map_for(const Tensor& tensor) {
  return tensor_map(tensor, {Tile::rows, Tile::chunk, Tile::number_bytes});
}

using Work = std::function<void()>;

class Barrier {
 public:
  void init(int arrivals) { state() = {arrivals}; }
  void arrive() {
    ++state().arrived;
    advance();
  }
  void arrive_expecting(int bytes) {
    state().bytes += bytes;
    arrive();
  }
  void wait(int parity) {
    emulated::wait_until([&] {
      for (Work& copy : std::exchange(state().copies, {})) copy();
      advance();
      return state().phase % 2 != parity;
    });
  }
  void add_copy(int bytes, Work work) {
    state().copies.push_back([this, bytes, work = std::move(work)] {
      work();
      state().bytes -= bytes;
    });
  }

 private:
  struct State {
    int needed = 0, arrived = 0, bytes = 0, phase = 0;
    std::vector<Work> copies;
  };
  State& state() const { return emulated::of_block<State>(this); }
  void advance() {
    State& s = state();
    if (s.arrived < s.needed || s.bytes != 0) return;
    s.arrived = 0;
    ++s.phase;
  }
  uint64_t state_;
};
inline void publish_barriers() {}

// work(a number of the tile, the one in global memory or null)
template <int Rows, int Columns, typename Number, typename Work>
void for_numbers(const Tile<Rows, Columns, Number>& tile, const TensorMap& map, int channel, int head,
                 int token, int sequence, const Work& work) {
  if (map.box.rows != Rows || map.box.chunk != tile.chunk || map.box.number_bytes != tile.number_bytes)
    throw std::logic_error("a map of another tile");
  constexpr int unit = 16 / sizeof(Number);
  for (int row = 0; row < Rows; ++row)
    for (int column = 0; column < Columns; ++column)
      work(reinterpret_cast<Number*>(tile.at(row, column / unit * unit))[column % unit],
           map.at<Number>(channel + column, head, token + row, sequence));
}
template <typename Tile>
void load(const Tile& tile, const TensorMap& map, Barrier& barrier, int channel, int head, int token,
          int sequence) {
  barrier.add_copy(Tile::bytes, [=] {
    for_numbers(tile, map, channel, head, token, sequence,
                [](auto& in_tile, auto* global) { in_tile = global ? *global : 0; });
  });
}
inline void load(float* shared, const float* global, int count, Barrier& barrier) {
  if (count % 4 != 0) throw std::logic_error("a copy of parts of 16 bytes");
  const auto bytes = static_cast<int>(count * sizeof(float));
  barrier.add_copy(bytes, [=] { std::memcpy(shared, global, bytes); });
}

// What a thread has asked for and not yet waited for.
struct Asynchronous {
  std::vector<Work> stores, products;
  std::vector<std::vector<Work>> groups;  // of products
};
inline Asynchronous& asynchronous() {
  return emulated::of_thread<Asynchronous>();
}
template <typename Tile>
void store(const Tile& tile, const TensorMap& map, int channel, int head, int token, int sequence) {
  asynchronous().stores.push_back([=] {
    for_numbers(tile, map, channel, head, token, sequence, [](auto& in_tile, auto* global) {
      if (global) *global = in_tile;
    });
  });
}
template <typename Tile>
void add(const Tile& tile, const TensorMap& map, int channel, int head, int token, int sequence) {
  asynchronous().stores.push_back([=] {
    for_numbers(tile, map, channel, head, token, sequence, [](auto& in_tile, auto* global) {
      if (global) *global += in_tile;
    });
  });
}
inline void start_stores() {}
inline void wait_until_read() {
  for (Work& store : std::exchange(asynchronous().stores, {})) store();
}
inline void wait_until_stored() {
  wait_until_read();
}
inline void publish_tile() {}

inline void arrive_at(int barrier, int threads) {
  emulated::arrive_at(barrier, threads);
}
inline void wait_at(int barrier, int threads) {
  emulated::wait_at(barrier, threads);
}
template <int Registers>
void grow_registers() {}
template <int Registers>
void shrink_registers() {}

inline float exp2_approx(float x) {
  return std::exp2(x);
}
inline void count_up(int* number, int more) {
  *number += more;
}
inline void wait_for(const int* number, int value) {
  emulated::wait_until([=] { return *number >= value; });
}

// Rows or columns of a tile, 16 of the other at a time.
struct Operand {
  Tile<8, 64> tile;  // of any size
  int chunk, row_bytes, chunk_bytes;
  int row, column;
  bool transposed;
  float at(int i, int k) const {  // row i, column k of the operand
    const int r = row + (transposed ? k : i), c = column + (transposed ? i : k);
    const int permutation = r * row_bytes / 8 & (row_bytes - 1) & 0x70;  // as Tile has it
    Bf16 bits;
    std::memcpy(&bits, tile.data + c / chunk * chunk_bytes + r * row_bytes + (c % chunk * 2 ^ permutation),
                sizeof bits);
    return to_float(bits);
  }
};
template <typename Tile>
struct Operands {
  Tile t;
  int row, column;
  bool transposed;
  Operand operator[](int k) const {
    return {{t.data},
            Tile::chunk,
            Tile::row_bytes,
            Tile::chunk_bytes,
            row + (transposed ? 16 * k : 0),
            column + (transposed ? 0 : 16 * k),
            transposed};
  }
};
template <typename Tile>
Operands<Tile> rows_of(const Tile& tile, int row) {
  return {tile, row, 0, false};
}
template <typename Tile>
Operands<Tile> columns_of(const Tile& tile, int column) {
  return {tile, 0, column, true};
}

using Block16 = uint32_t[4];
inline Bf16 half(uint32_t word, int i) {
  return static_cast<Bf16>(i ? word >> 16 : word);
}
template <typename Tile>
void store_block(const Tile& tile, int row, int column, const Block16& a) {
  const int lane = emulated::lane();
  for (int m = 0; m < 4; ++m)
    for (int i = 0; i < 2; ++i)
      reinterpret_cast<Bf16*>(tile.at(row + lane / 4 + m % 2 * 8, column + m / 2 * 8))[lane % 4 * 2 + i] =
          half(a[m], i);
}
using Address = uintptr_t;
template <typename Tile>
Address transposed_address(const Tile& tile, int row, int column) {
  const int lane = emulated::lane();
  return reinterpret_cast<Address>(tile.at(row + lane % 8 + lane / 16 * 8, column + lane / 8 % 2 * 8));
}
// Each lane has the address of one row of one of the four matrices.
inline void store_transposed(Address to, const Block16& a) {
  static Address addresses[1024];
  const int thread = emulated::thread(), lane = thread % 32;
  addresses[thread] = to;
  emulated::warp_barrier();
  for (int m = 0; m < 4; ++m)
    for (int i = 0; i < 2; ++i)
      reinterpret_cast<Bf16*>(addresses[thread - lane + 8 * m + lane % 4 * 2 + i])[lane / 4] = half(a[m], i);
  emulated::warp_barrier();
}
template <typename Tile>
Address pair_address(const Tile& tile, int row, int column) {
  return reinterpret_cast<Address>(tile.at(row, column / 4 * 4) + column % 4 * 4);
}
inline void store_pair(Address to, float x, float y) {
  const float pair[2] = {x, y};
  std::memcpy(reinterpret_cast<void*>(to), pair, sizeof pair);
}
template <typename Tile>
void load_block(const Tile& tile, int row, int column, Block16& a) {
  const int lane = emulated::lane();
  for (int m = 0; m < 4; ++m)
    std::memcpy(&a[m], tile.at(row + lane / 4 + m % 2 * 8, column + m / 2 * 8) + lane % 4 * 4, sizeof a[m]);
}

template <typename... Registers>
void mma_begin([[maybe_unused]] Registers&... registers) {}
inline void mma_commit() {
  asynchronous().groups.push_back(std::exchange(asynchronous().products, {}));
}
template <int Groups, int... Sizes>
void mma_wait([[maybe_unused]] float (&... accumulators)[Sizes]) {
  auto& groups = asynchronous().groups;
  while (groups.size() > Groups) {
    for (Work& product : groups.front()) product();
    groups.erase(groups.begin());
  }
}

enum class Side { rows, columns };
// own: [row][k] of the two rows that this thread has.
template <int N>
void multiply(float (&d)[N / 2], const std::array<float, 32>& own, const Operand& b, bool add) {
  for (int n = 0; n < N / 4; ++n) {
    const int column = n / 2 * 8 + emulated::lane() % 4 * 2 + n % 2, first = n / 2 * 4 + n % 2;
    float sums[2] = {add ? d[first] : 0, add ? d[first + 2] : 0};
    for (int k = 0; k < 16; ++k) {
      const float x = b.at(column, k);
      sums[0] += own[k] * x;
      sums[1] += own[16 + k] * x;
    }
    d[first] = sums[0];
    d[first + 2] = sums[1];
  }
}
template <int N, Side side>
void mma(float (&d)[N / 2], const Operand& a, const Operand& b, bool add) {
  const int row = 16 * (static_cast<int>(threadIdx.x) % warpgroup / 32) + emulated::lane() / 4;
  asynchronous().products.push_back([=, &d] {
    std::array<float, 32> own;
    for (int i = 0; i < 2; ++i)
      for (int k = 0; k < 16; ++k) own[16 * i + k] = a.at(row + 8 * i, k);
    multiply<N>(d, own, b, add);
  });
}
template <int N, Side side>
void mma(float (&d)[N / 2], const Block16& a, const Operand& b, bool add) {
  static uint32_t words[1024][4];  // of all threads
  const int thread = emulated::thread(), quad = thread / 4 * 4;
  std::memcpy(words[thread], a, sizeof a);
  emulated::warp_barrier();
  std::array<float, 32> own;  // [row][k]
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 16; ++k)
      own[16 * i + k] = to_float(half(words[quad + k % 8 / 2][i + k / 8 * 2], k % 2));
  emulated::warp_barrier();
  asynchronous().products.push_back([=, &d] { multiply<N>(d, own, b, add); });
}

}  // namespace sisa::model::kernels::hopper
