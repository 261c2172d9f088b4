// What the two directions of attention share: tiles of query and key, and their scores.
#pragma once

#include "model/kernels/hopper.cuh"

namespace sisa::model::kernels {

namespace hp = hopper;

constexpr int num_content = 64;  // channels of a head, beside those of its state
constexpr int num_keys = 128;    // of a tile
constexpr float log2_e = 1.4426950408889634f;

// Query or key of `Rows` tokens, with S state channels.
template <int Rows, int S>
struct Channels {
  static constexpr int bytes = 2 * Rows * (num_content + S);
  hp::Tile<Rows, num_content> content;
  hp::Tile<Rows, S> state;
  __device__ explicit Channels(uint8_t* data) : content{data}, state{data + content.bytes} {}
};
template <int Rows>
struct Channels<Rows, 0> {
  static constexpr int bytes = 2 * Rows * num_content;
  hp::Tile<Rows, num_content> content;
  __device__ explicit Channels(uint8_t* data) : content{data} {}
};

// For copies of them.
struct ChannelMaps {
  hp::TensorMap content, state;
};
inline hp::Tensor channel_tensor(const AttentionCall& s, const void* data, int64_t width) {
  const int64_t token = s.heads * width;
  return {data, s.batch, s.length, s.heads, width, s.length * token, token, width};
}
template <int Rows, int S>
ChannelMaps channel_maps(const AttentionCall& s, const Bf16* data) {
  const hp::Tensor tensor = channel_tensor(s, data, num_content + S);
  ChannelMaps maps{hp::tensor_map_for<hp::Tile<Rows, num_content>>(tensor), {}};
  if constexpr (S > 0) maps.state = hp::tensor_map_for<hp::Tile<Rows, S>>(tensor);
  return maps;
}
// (B, T, H, 64) of those strides.
template <int Rows>
hp::TensorMap content_map(const AttentionCall& s, const Bf16* data, const int64_t (&strides)[3]) {
  return hp::tensor_map_for<hp::Tile<Rows, num_content>>(
      {data, s.batch, s.length, s.heads, num_content, strides[0], strides[1], strides[2]});
}
template <int Rows>
hp::TensorMap content_map(const AttentionCall& s, const Bf16* data) {
  const int64_t token = s.heads * num_content;
  return content_map<Rows>(s, data, {s.length * token, token, num_content});
}

// Rows of logsumexp and of such.
__host__ __device__ inline int padded_length(const AttentionCall& s) {
  return static_cast<int>((s.length + 127) / 128 * 128);
}

// work(the number of state channels as a constant)
template <typename Work>
void for_state(int64_t d_state, const Work& work) {
  switch (d_state) {
    case 0:
      return work(std::integral_constant<int, 0>());
    case 16:
      return work(std::integral_constant<int, 16>());
    case 32:
      return work(std::integral_constant<int, 32>());
    case 64:
      return work(std::integral_constant<int, 64>());
    case 128:
      return work(std::integral_constant<int, 128>());
    default:
      throw std::invalid_argument("attention with " + std::to_string(d_state) + " state channels");
  }
}

// One head of one sequence.
struct Head {
  int index, sequence, head;  // index: among all of them
  __device__ Head(const AttentionCall& s, int i)
      : index(i), sequence(i / static_cast<int>(s.heads)), head(i % static_cast<int>(s.heads)) {}
};
template <int Rows, int S>
__device__ void load(const Channels<Rows, S>& to, const ChannelMaps& maps, hp::Barrier& barrier,
                     const Head& head, int token) {
  hp::load(to.content, maps.content, barrier, 0, head.head, token, head.sequence);
  if constexpr (S > 0) hp::load(to.state, maps.state, barrier, num_content, head.head, token, head.sequence);
}

// A head's exponents (AttentionCall::exponents). Scores that lie further apart than a number can say are 0.
class Exponents {
 public:
  __device__ Exponents(const AttentionCall& s, const Head& head)
      : last_block_(static_cast<int>((s.length - 1) / exponent_block)),
        values_(s.exponents ? s.exponents + static_cast<int64_t>(head.index) * (last_block_ + 1) : nullptr) {}
  __device__ int at(int token) const {
    return values_ ? values_[min(token / static_cast<int>(exponent_block), last_block_)] : 0;
  }
  // By how much scores of a query's state channels are too large for keys `steps` before it. Where it is 0,
  // they may be infinite.
  static __device__ float factor(int steps) {
    constexpr float log2_step = static_cast<float>(exponent_step) * log2_e;
    return steps <= 0 ? 1.0f : steps >= far ? 0.0f : hp::exp2_approx(-log2_step * static_cast<float>(steps));
  }
  static constexpr int far = 3;

 private:
  int last_block_;
  const int16_t* values_;
};

// Whether the state channels of these keys do not count for these queries, or any after them.
__device__ inline bool far_apart(const Exponents& exponents, int first_query, int first_key) {
  const bool far = exponents.at(first_query) - exponents.at(first_key + num_keys - 1) >= Exponents::far;
  return __shfl_sync(0xffffffffu, far, 0);  // from one lane, so that the compiler sees that all agree
}
// work(whether they may be apart, as a constant): for queries up to `last_query` and keys from `first_key`
// on.
template <int S, typename Work>
__device__ void for_exponents(const Exponents& exponents, int last_query, int first_key, const Work& work) {
  if constexpr (S > 0) {
    const bool equal = exponents.at(last_query) == exponents.at(first_key);
    if (!__shfl_sync(0xffffffffu, equal, 0)) {
      work(std::true_type());
      return;
    }
  }
  work(std::false_type());
}

__device__ inline int warp_of_group() {
  return static_cast<int>(threadIdx.x) % hp::warpgroup / 32;
}

// The factors between this warp's 16 tokens, from `own` on, and each 16 of N from `first` on: one in each
// lane.
template <int N>
class Factors {
 public:
  __device__ Factors(const Exponents& exponents, int own, int first, bool own_are_queries) {
    const int difference = exponents.at(own) - exponents.at(first + lane() % (N / 16) * 16);
    one_ = Exponents::factor(own_are_queries ? difference : -difference);
  }
  __device__ float operator[](int i) const { return __shfl_sync(0xffffffffu, one_, i); }

 private:
  float one_;
};

// Scores of this warpgroup's 64 tokens, from row `row` of `a` on, with all N of `b`: started, and committed.
// Without `Apart` all exponents are equal. With it state channels come first, to be multiplied by
// factors_of(), or by 0 if they are `far`.
template <int N, bool Apart, int S, int RowsA, typename FactorsOf>
__device__ void start_scores(const Channels<RowsA, S>& a, int row, const Channels<N, S>& b, bool far,
                             const FactorsOf& factors_of, float (&scores)[N / 2]) {
  using hp::Side;
  if constexpr (Apart) {
#pragma unroll
    for (int i = 0; i < N / 2; ++i) scores[i] = 0;
  }
  if (!Apart || !far) {
    hp::mma_begin(scores);
    if constexpr (S > 0) {
      const auto rows = rows_of(a.state, row);
      const auto columns = rows_of(b.state, 0);
#pragma unroll
      for (int k = 0; k < S / 16; ++k) hp::mma<N, Side::rows>(scores, rows[k], columns[k], k > 0);
    }
    if constexpr (Apart) {
      hp::mma_commit();
      const Factors<N> factors = factors_of();
      hp::mma_wait<0>(scores);
#pragma unroll
      for (int k = 0; k < N / 16; ++k) {
        const float factor = factors[k];
#pragma unroll
        for (int i = 8 * k; i < 8 * k + 8; ++i) scores[i] = factor == 0 ? 0 : scores[i] * factor;
      }
    }
  }
  if constexpr (Apart) hp::mma_begin(scores);
  const auto rows = rows_of(a.content, row);
  const auto columns = rows_of(b.content, 0);
#pragma unroll
  for (int k = 0; k < num_content / 16; ++k)
    hp::mma<N, Side::rows>(scores, rows[k], columns[k], S > 0 || k > 0);
  hp::mma_commit();
}

// Columns 16 k to 16 k + 15 of a product, times `factor`, as operand of the next.
template <int Size>
__device__ void as_operand(const float (&d)[Size], int k, float factor, hp::Block16& a) {
#pragma unroll
  for (int i = 0; i < 4; ++i) a[i] = pack(d[8 * k + 2 * i] * factor, d[8 * k + 2 * i + 1] * factor);
}
__device__ inline void scale_operand(hp::Block16& a, float factor) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
    a[i] = pack(__uint_as_float(a[i] << 16) * factor, __uint_as_float(a[i] & 0xffff0000u) * factor);
}

}  // namespace sisa::model::kernels
