// A block has 128 keys of one head, 64 for each of two warpgroups, and walks along the queries from the
// diagonal to the last. Scores are held as their transpose, keys by queries: so weights and their gradients
// are operands in registers for the gradients of value and key, which stay in registers too. For the gradient
// of the query both warpgroups lay the scores' gradients in shared memory. To that gradient all blocks of a
// head add, in global memory, one after the other: first that of the diagonal, then those before it. So sums
// have the same bits every time, and the first need find no zeros. Nobody waits long, since the blocks of a
// head start together and each comes to a tile of queries when the one behind it has left. A block waits for
// blocks of smaller numbers alone. GPUs start blocks in the order of their numbers; CUDA does not promise it,
// but scans of its own library, CUB, rely on it as well.
//
// A third warpgroup copies: one warp fetches queries, up to `num_stages` tiles ahead, and one for each of the
// others takes its sums away.
//
// With weights P, output gradient dO and D = rowsum(dO O): dV = P^T dO, dS = P (dO V^T - D), dK = dS^T Q, dQ
// = dS K, the last two times the scale.
#include <algorithm>

#include "model/kernels/attention.cuh"

namespace sisa::model::kernels {
namespace {

constexpr int num_groups = 2, group_keys = num_keys / num_groups;
constexpr int num_consumers = num_groups * hp::warpgroup, num_threads = num_consumers + hp::warpgroup;

// Numbers of barriers (hopper.cuh), of which each warpgroup has its own: `first` and the next.
constexpr int wrote_scores = 1, read_scores = 3, wrote_sums = 5, read_sums = 7, all_consumers = 9;
constexpr int group_and_courier = hp::warpgroup + 32;  // threads at the barriers of sums

template <int S, bool Apart>
struct Layout {  // of shared memory
  // Of a tile. With more, the accumulators of wide heads, or what it takes to keep exponents apart, would not
  // fit into registers.
  static constexpr int num_queries = S <= 16 && !Apart ? 128 : 64;
  static constexpr int num_stages = 3;
  static constexpr bool apart = Apart, has_state = S > 0;
  using Key = Channels<num_keys, S>;
  using Query = Channels<num_queries, S>;
  using Content = hp::Tile<num_queries, num_content>;  // of the output's gradient
  using Value = hp::Tile<num_keys, num_content>;
  using Scores = hp::Tile<num_queries, num_keys>;
  // Of a tile's query gradient a warpgroup computes 64 rows or, where there are only so many, half of the
  // columns.
  static constexpr bool halves = num_queries == group_keys;
  static constexpr int content_columns = halves ? num_content / 2 : num_content,
                       state_columns = halves ? S / 2 : S;
  using ContentRows = hp::Tile<group_keys, content_columns, float>;
  using StateRows = hp::Tile<group_keys, S == 0 ? 8 : state_columns, float>;
  using StateGradient = hp::Tile<group_keys, S == 0 ? 8 : S, float>;  // of a warpgroup's keys
  static constexpr int row_bytes = num_queries * sizeof(float);
  static constexpr int copied_bytes = Query::bytes + Content::bytes + 2 * row_bytes;
  static constexpr int stage_bytes = Query::bytes + Content::bytes;
  static constexpr int scores_begin = Key::bytes + Value::bytes + num_stages * stage_bytes;
  static constexpr int sums_begin = scores_begin + Scores::bytes;
  static constexpr int sums_bytes = ContentRows::bytes + (S > 0 ? StateRows::bytes : 0);  // of a warpgroup
  static constexpr int rows_begin = sums_begin + num_groups * sums_bytes;
  static constexpr int barriers_begin = rows_begin + num_stages * 2 * row_bytes;
  static constexpr int bytes = barriers_begin + (2 * num_stages + 1) * sizeof(hp::Barrier);

  uint8_t* memory;
  __device__ Key key() const { return Key(memory); }
  __device__ Value value() const { return {memory + Key::bytes}; }
  __device__ uint8_t* stage(int i) const { return memory + Key::bytes + Value::bytes + i * stage_bytes; }
  __device__ Query query(int i) const { return Query(stage(i)); }
  __device__ Content output_gradient(int i) const { return {stage(i) + Query::bytes}; }
  __device__ Scores score_gradients() const { return {memory + scores_begin}; }
  __device__ ContentRows content_sums(int group) const { return {memory + sums_begin + group * sums_bytes}; }
  __device__ StateRows state_sums(int group) const { return {content_sums(group).data + ContentRows::bytes}; }
  __device__ StateGradient state_gradient(int group) const {  // when there are no more queries
    return {stage(0) + group * StateGradient::bytes};
  }
  __device__ float* logsumexp(int i) const {
    return reinterpret_cast<float*>(memory + rows_begin + i * 2 * row_bytes);
  }
  __device__ float* products(int i) const { return logsumexp(i) + num_queries; }
  __device__ hp::Barrier& full(int i) const {
    return reinterpret_cast<hp::Barrier*>(memory + barriers_begin)[i];
  }
  __device__ hp::Barrier& empty(int i) const { return full(num_stages + i); }
  __device__ hp::Barrier& full_key() const { return full(2 * num_stages); }
};

struct Maps {
  ChannelMaps key;
  hp::TensorMap value, key_gradient, state_gradient, value_gradient;
  struct Queries {
    ChannelMaps query;
    hp::TensorMap output_gradient, content_sums, state_sums;
  } queries[2];  // of tiles without and with exponents apart
};
struct RowSums {  // (B, H, padded_length)
  const float *logsumexp, *products;
};

__host__ __device__ int num_key_tiles(const AttentionCall& s) {
  return static_cast<int>((s.length + num_keys - 1) / num_keys);
}
// The sums of so many queries have turns of their own.
constexpr int turn_queries = 64;
__host__ __device__ int num_turns(const AttentionCall& s) {  // of a head
  return padded_length(s) / turn_queries;
}

// What a block does: the keys of `tile`, for which tiles of queries count from `first` to before `end`.
struct Walk {
  Head head;
  int tile, first, end;
  __device__ int first_key() const { return tile * num_keys; }
};
// Blocks of a head are neighbours; those that others wait for come first.
__device__ Head head_of_block(const AttentionCall& s) {
  return Head(s, static_cast<int>(blockIdx.x) / num_key_tiles(s));
}
__device__ int tile_of_block(const AttentionCall& s) {
  return num_key_tiles(s) - 1 - static_cast<int>(blockIdx.x) % num_key_tiles(s);
}

template <typename L>
__device__ void fetch(const AttentionCall& s, const L& memory, const Maps& maps, const RowSums& rows,
                      const Walk& walk) {
  const Head& head = walk.head;
  const Maps::Queries& of_queries = maps.queries[L::apart];
  memory.full_key().arrive_expecting(L::Key::bytes + L::Value::bytes);
  load(memory.key(), maps.key, memory.full_key(), head, walk.first_key());
  hp::load(memory.value(), maps.value, memory.full_key(), 0, head.head, walk.first_key(), head.sequence);
  for (int m = walk.first; m < walk.end; ++m) {
    const int i = m - walk.first, stage = i % L::num_stages, round = i / L::num_stages,
              token = m * L::num_queries;
    if (round > 0) memory.empty(stage).wait((round - 1) % 2);
    const int64_t row = static_cast<int64_t>(head.index) * padded_length(s) + token;
    hp::Barrier& barrier = memory.full(stage);
    barrier.arrive_expecting(L::copied_bytes);
    load(memory.query(stage), of_queries.query, barrier, head, token);
    hp::load(memory.output_gradient(stage), of_queries.output_gradient, barrier, 0, head.head, token,
             head.sequence);
    hp::load(memory.logsumexp(stage), rows.logsumexp + row, L::num_queries, barrier);
    hp::load(memory.products(stage), rows.products + row, L::num_queries, barrier);
  }
}

// A warp takes the sums of warpgroup `group` away. turns: for each head and turn_queries queries, twice the
// number of blocks that have added theirs.
template <typename L>
__device__ void carry_sums(const AttentionCall& s, const L& memory, const Maps& maps, const Walk& walk,
                           int group, int* turns) {
  const Exponents exponents(s, walk.head);
  const Maps::Queries& of_queries = maps.queries[L::apart];
  const int half = L::halves ? group : 0, head = walk.head.head, sequence = walk.head.sequence;
  const auto content = memory.content_sums(group);
  const auto state = memory.state_sums(group);
  for (int m = walk.first; m < walk.end; ++m) {
    const int token = m * L::num_queries + (L::halves ? 0 : group * turn_queries),
              before = token / num_keys - walk.tile;
    const bool with_state =
        L::has_state && !(L::apart && far_apart(exponents, m * L::num_queries, walk.first_key()));
    int* turn = turns + walk.head.index * num_turns(s) + token / turn_queries;
    // Of turns beyond the sequence's end, blocks with exponents apart know nothing.
    const bool carries = lane() == 0 && token < s.length;
    hp::wait_at(wrote_sums + group, group_and_courier);
    if (carries) {
      const int content_channel = half * L::content_columns,
                state_channel = num_content + half * L::state_columns;
      if (before == 0) {
        hp::store(content, of_queries.content_sums, content_channel, head, token, sequence);
        if (with_state) hp::store(state, of_queries.state_sums, state_channel, head, token, sequence);
      } else {
        hp::wait_for(turn, 2 * before);
        hp::add(content, of_queries.content_sums, content_channel, head, token, sequence);
        if (with_state) hp::add(state, of_queries.state_sums, state_channel, head, token, sequence);
      }
      hp::start_stores();
      hp::wait_until_read();
    }
    __syncwarp();
    if (m + 1 < walk.end) hp::arrive_at(read_sums + group, group_and_courier);
    if (carries) {
      hp::wait_until_stored();
      hp::count_up(turn, L::halves ? 1 : 2);
    }
    __syncwarp();
  }
}

// This warpgroup's product to the columns of a tile from `first` on, where a chunk begins.
template <typename Tile, int Size>
__device__ void store_sums(const float (&d)[Size], float scale, const Tile& tile, int first = 0) {
  // Of the first two numbers; their neighbours 8 columns further differ from them in a bit of the address.
  const hp::Address begin = hp::pair_address(tile, 16 * warp_of_group() + lane() / 4, lane() % 4 * 2);
#pragma unroll
  for (int n = 0; n < Size / 2; ++n) {
    const int column = first + n / 2 * 8, chunk = column / tile.chunk,
              in_chunk = column % tile.chunk * tile.number_bytes;
    hp::store_pair((begin ^ in_chunk) + chunk * tile.chunk_bytes + n % 2 * 8 * tile.row_bytes,
                   d[2 * n] * scale, d[2 * n + 1] * scale);
  }
}

// This warpgroup's rows of a product to the tile's rows from `row` on.
template <typename Tile, int Size>
__device__ void store_rows(const float (&d)[Size], float scale, const Tile& tile, int row) {
#pragma unroll
  for (int k = 0; k < Size / 8; ++k) {
    hp::Block16 a;
    as_operand(d, k, scale, a);
    store_block(tile, row + 16 * warp_of_group(), 16 * k, a);
  }
}

// d (+)= a times columns b, a sum over K.
template <int K, int Size, typename A, typename B>
__device__ void multiply(float (&d)[Size], const A& a, const B& b, bool add) {
#pragma unroll
  for (int k = 0; k < K / 16; ++k) hp::mma<2 * Size, hp::Side::columns>(d, a[k], b[k], add || k > 0);
}

// Where exponents lie apart, gradients of scores, bf16 numbers, are multiplied by factors down to e^-80. With
// so much more they stay clear of the smallest numbers of bf16, and their products of the largest of fp32.
constexpr float lift = 0x1p30f;

template <int S, bool Apart>
__device__ void differentiate(const AttentionCall& s, const Layout<S, Apart>& memory, const Maps& maps,
                              const Walk& walk) {
  using L = Layout<S, Apart>;
  using hp::Side;
  constexpr int N = L::num_queries, content_columns = L::content_columns, state_columns = L::state_columns;
  constexpr int num_parts = S > 64 ? 2 : 1,
                part = S / num_parts;  // of the state, each with accumulators of its own
  const int group = hp::group_index(), key_row = group * group_keys, first_key = walk.first_key() + key_row,
            own_key = first_key + 16 * warp_of_group() + lane() / 4, query_row = L::halves ? 0 : key_row,
            half = L::halves ? group : 0;
  const float scale = static_cast<float>(s.scale), factor = scale * log2_e,
              state_scale = Apart ? scale / lift : scale;
  const Exponents exponents(s, walk.head);

  float value_gradient[num_content / 2] = {}, content_gradient[num_content / 2] = {},
                                     state_gradient[num_parts][S > 0 ? part / 2 : 1] = {};
  float weights[N / 2];
  const auto far_from = [&](int m) { return Apart && far_apart(exponents, m * N, walk.first_key()); };
  const auto factors_of = [&](int m) {
    return Factors<N>(exponents, first_key + 16 * warp_of_group(), m * N, false);
  };
  const auto start_weights = [&](int m, int stage, bool far) {
    start_scores<N, Apart>(
        memory.key(), key_row, memory.query(stage), far, [&] { return factors_of(m); }, weights);
  };
  memory.full_key().wait(0);
  memory.full(0).wait(0);
  bool far = false;
  start_weights(walk.first, 0, far);
  hp::mma_wait<0>(weights);
  for (int m = walk.first; m < walk.end; ++m) {
    const int i = m - walk.first, stage = i % L::num_stages, first_query = m * N;
    const auto query = memory.query(stage);
    const auto output_gradient = memory.output_gradient(stage);
    const auto score_gradients = memory.score_gradients();

    // Weights, and the scores' gradients.
    float gradients[N / 2];
    hp::mma_begin(gradients);
    {
      const auto values = rows_of(memory.value(), key_row);
      const auto columns = rows_of(output_gradient, 0);
#pragma unroll
      for (int k = 0; k < num_content / 16; ++k)
        hp::mma<N, Side::rows>(gradients, values[k], columns[k], k > 0);
    }
    hp::mma_commit();
    __syncwarp();  // the compiler would take some of these exponentials first
    const int own_query = lane() % 4 * 2;
#pragma unroll
    for (int n = 0; n < N / 8; ++n) {
      const float2 shift = *reinterpret_cast<const float2*>(memory.logsumexp(stage) + 8 * n + own_query);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float& x = weights[4 * n + j];
        x = hp::exp2_approx(fmaf(x, factor, j % 2 ? -shift.y : -shift.x));
      }
    }
    if (first_query < first_key + group_keys) {
#pragma unroll
      for (int n = 0; n < N / 2; ++n)
        if (first_query + n / 4 * 8 + own_query + n % 2 < own_key + n / 2 % 2 * 8) weights[n] = 0;
    }
    hp::mma_wait<0>(gradients);
    if (i > 0) hp::wait_at(read_scores + 1 - group, num_consumers);
    hp::Block16 p[N / 16], ds[N / 16];
    const hp::Address begin = hp::transposed_address(score_gradients, 0, key_row + 16 * warp_of_group());
#pragma unroll
    for (int k = 0; k < N / 16; ++k) {
#pragma unroll
      for (int n = 2 * k; n < 2 * k + 2; ++n) {
        const float2 product = *reinterpret_cast<const float2*>(memory.products(stage) + 8 * n + own_query);
#pragma unroll
        for (int j = 0; j < 4; ++j)
          gradients[4 * n + j] =
              weights[4 * n + j] * (gradients[4 * n + j] - (j % 2 ? product.y : product.x));
      }
      as_operand(weights, k, 1, p[k]);
      as_operand(gradients, k, 1, ds[k]);
      hp::store_transposed(begin + 16 * k * score_gradients.row_bytes, ds[k]);
    }
    hp::publish_tile();
    hp::arrive_at(wrote_scores + group, num_consumers);

    // Of value and key. Without waiting for these products first, registers would not suffice for the next.
    hp::mma_begin(p, ds, value_gradient, content_gradient, state_gradient[0], state_gradient[num_parts - 1]);
    multiply<N>(value_gradient, p, columns_of(output_gradient, 0), true);
    multiply<N>(content_gradient, ds, columns_of(query.content, 0), true);
    if constexpr (S > 0 && !Apart) {
#pragma unroll
      for (int n = 0; n < num_parts; ++n)
        multiply<N>(state_gradient[n], ds, columns_of(query.state, n * part), true);
    }
    hp::mma_commit();
    hp::mma_wait<0>(value_gradient, content_gradient, state_gradient[0], state_gradient[num_parts - 1]);
    if constexpr (Apart) {
      if (!far) {
        const Factors<N> factors = factors_of(m);
#pragma unroll
        for (int k = 0; k < N / 16; ++k) scale_operand(ds[k], factors[k] * lift);
        hp::mma_begin(ds, state_gradient[0], state_gradient[num_parts - 1]);
#pragma unroll
        for (int n = 0; n < num_parts; ++n)
          multiply<N>(state_gradient[n], ds, columns_of(query.state, n * part), true);
        hp::mma_commit();
        hp::mma_wait<0>(state_gradient[0], state_gradient[num_parts - 1]);
      }
    }

    // Of the query, when the other warpgroup, too, has written its part of the scores' gradients.
    hp::wait_at(wrote_scores + 1 - group, num_consumers);
    float by_content[content_columns / 2], by_state[S > 0 ? state_columns / 2 : 1];
    hp::mma_begin(by_content, by_state);
    multiply<num_keys>(by_content, rows_of(score_gradients, query_row),
                       columns_of(memory.key().content, half * content_columns), false);
    if constexpr (S > 0 && !Apart)
      multiply<num_keys>(by_state, rows_of(score_gradients, query_row),
                         columns_of(memory.key().state, half * state_columns), false);
    hp::mma_commit();
    if constexpr (Apart) {
      if (!far) {
        const Factors<num_keys> factors(exponents, first_query + query_row + 16 * warp_of_group(),
                                        walk.first_key(), true);
        hp::mma_wait<0>(by_content);
        const auto states = columns_of(memory.key().state, half * state_columns);
        constexpr int together = 4;  // more would take too many registers
#pragma unroll
        for (int block = 0; block < num_keys / 16; block += together) {
          hp::Block16 rows_ds[together];
#pragma unroll
          for (int k = 0; k < together; ++k) {
            load_block(score_gradients, query_row + 16 * warp_of_group(), 16 * (block + k), rows_ds[k]);
            scale_operand(rows_ds[k], factors[block + k] * lift);
          }
          hp::mma_begin(rows_ds, by_state);
#pragma unroll
          for (int k = 0; k < together; ++k)
            hp::mma<state_columns, Side::columns>(by_state, rows_ds[k], states[block + k], block + k > 0);
          hp::mma_commit();
          hp::mma_wait<0>(by_state);
        }
      }
    }
    if (lane() == 0) memory.empty(stage).arrive();
    // While the next scores are computed (after the last tile: its own again, for nothing), these sums are
    // handed on.
    const bool more = m + 1 < walk.end, with_state = S > 0 && !far;
    if (more) {
      far = far_from(m + 1);
      memory.full((i + 1) % L::num_stages).wait((i + 1) / L::num_stages % 2);
    }
    start_weights(more ? m + 1 : m, more ? (i + 1) % L::num_stages : stage, far);
    hp::mma_wait<1>(by_content, by_state);
    if (more) hp::arrive_at(read_scores + group, num_consumers);
    if (i > 0) hp::wait_at(read_sums + group, group_and_courier);
    store_sums(by_content, scale, memory.content_sums(group));
    if (with_state) store_sums(by_state, state_scale, memory.state_sums(group));
    hp::publish_tile();
    hp::arrive_at(wrote_sums + group, group_and_courier);
    hp::mma_wait<0>(weights);
  }

  hp::wait_at(all_consumers, num_consumers);  // nobody reads key and value any more
  store_rows(value_gradient, 1, memory.value(), key_row);
  store_rows(content_gradient, scale, memory.key().content, key_row);
  if constexpr (S > 0) {
#pragma unroll
    for (int n = 0; n < num_parts; ++n)
      store_sums(state_gradient[n], state_scale, memory.state_gradient(group), n * part);
  }
  hp::publish_tile();
  hp::wait_at(all_consumers, num_consumers);
  if (threadIdx.x > 0) return;
  const int head = walk.head.head, sequence = walk.head.sequence, token = walk.first_key();
  hp::store(memory.value(), maps.value_gradient, 0, head, token, sequence);
  hp::store(memory.key().content, maps.key_gradient, 0, head, token, sequence);
  if constexpr (S > 0) {
    for (int g = 0; g < num_groups; ++g)
      hp::store(memory.state_gradient(g), maps.state_gradient, 0, head, token + g * group_keys, sequence);
  }
  hp::start_stores();
  hp::wait_until_read();
}

template <int S, bool Apart>
__device__ void run_block(const AttentionCall& s, const Maps& maps, const RowSums& rows, int* turns) {
  using L = Layout<S, Apart>;
  const L memory{hp::shared_memory()};
  const int tile = tile_of_block(s);
  const Walk walk{head_of_block(s), tile, tile * num_keys / L::num_queries,
                  (static_cast<int>(s.length) + L::num_queries - 1) / L::num_queries};
  if (threadIdx.x == 0) {
    for (int i = 0; i < L::num_stages; ++i) {
      memory.full(i).init(1);
      memory.empty(i).init(num_consumers / 32);
    }
    memory.full_key().init(1);
    hp::publish_barriers();
  }
  __syncthreads();
  // 65,536 registers, shared unequally.
  if (threadIdx.x < num_consumers) {
    hp::grow_registers<240>();
    differentiate<S, Apart>(s, memory, maps, walk);
  } else {
    hp::shrink_registers<24>();
    const int warp = warp_of_group();
    if (warp < num_groups)
      carry_sums(s, memory, maps, walk, warp, turns);
    else if (warp == num_groups && lane() == 0)
      fetch(s, memory, maps, rows, walk);
  }
}

// Which heads a kernel takes: all, or those alone whose exponents are all equal, or are not. With 128 state
// channels a kernel that had the code for both would not get by with its registers, and that for `apart` does
// not: the compiler lets its products wait for one another.
enum class Takes { all, equal, apart };
constexpr int widest_for_all = 64;

template <int S, Takes takes>
__global__ void __launch_bounds__(num_threads, 1)
    backward_kernel(AttentionCall s, const __grid_constant__ Maps maps, RowSums rows, int* turns) {
  const Exponents exponents(s, head_of_block(s));
  const int last = static_cast<int>(s.length) - 1;
  if constexpr (takes == Takes::all) {
    for_exponents<S>(exponents, last, tile_of_block(s) * num_keys,
                     [&](auto apart) { run_block<S, decltype(apart)::value>(s, maps, rows, turns); });
  } else {
    if ((exponents.at(last) != exponents.at(0)) == (takes == Takes::apart))
      run_block<S, takes == Takes::apart>(s, maps, rows, turns);
  }
}

// D, rowsum(dO O), of each token and head, to products. 8 threads take a row of 64.
constexpr int product_rows = 32;  // of a block
__global__ void __launch_bounds__(8 * product_rows)
    products_kernel(AttentionCall s, const Bf16* output, const Bf16* output_gradient, float* products) {
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * product_rows + threadIdx.x / 8;  // (B, padded_length, H)
  const int part = static_cast<int>(threadIdx.x) % 8, head = static_cast<int>(row % s.heads);
  const int64_t token = row / s.heads % padded_length(s), sequence = row / s.heads / padded_length(s);
  const bool inside = sequence < s.batch && token < s.length;
  float sum = 0;
  if (inside) {
    const int64_t place = (sequence * s.length + token) * s.heads + head;
    const Float8 a = load8(output + place * num_content + 8 * part),
                 b = load8(output_gradient + place * num_content + 8 * part);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += a.v[j] * b.v[j];
  }
  for (int distance = 1; distance < 8; distance *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (part == 0 && sequence < s.batch) products[(sequence * s.heads + head) * padded_length(s) + token] = sum;
}

template <int S, bool Apart>
Maps::Queries query_maps(const AttentionCall& s, const Bf16* query, const AttentionGradients& gradients) {
  using L = Layout<S, Apart>;
  const hp::Tensor sums = channel_tensor(s, gradients.query, num_content + S);
  Maps::Queries maps{channel_maps<L::num_queries, S>(s, query),
                     content_map<L::num_queries>(s, gradients.output),
                     hp::tensor_map_for<typename L::ContentRows>(sums),
                     {}};
  if constexpr (S > 0) maps.state_sums = hp::tensor_map_for<typename L::StateRows>(sums);
  return maps;
}

template <int S>
void run(const AttentionCall& s, const Bf16* query, const Bf16* key, const Bf16* value, const RowSums& rows,
         const AttentionGradients& gradients, int* turns, void* stream) {
  Maps maps{channel_maps<num_keys, S>(s, key),
            content_map<num_keys>(s, value, s.value_strides),
            content_map<num_keys>(s, gradients.key),
            {},
            content_map<num_keys>(s, gradients.value, gradients.value_strides),
            {query_maps<S, false>(s, query, gradients), query_maps<S, (S > 0)>(s, query, gradients)}};
  if constexpr (S > 0)
    maps.state_gradient = hp::tensor_map_for<typename Layout<S, false>::StateGradient>(
        channel_tensor(s, gradients.key_state, S));
  constexpr int bytes = std::max(Layout<S, false>::bytes, Layout<S, (S > 0)>::bytes);
  const auto start = [&](auto kernel) {
    hp::launch_with_shared("attention_backward", kernel,
                           static_cast<unsigned>(s.batch * s.heads * num_key_tiles(s)), num_threads, bytes,
                           stream, s, maps, rows, turns);
  };
  if constexpr (S <= widest_for_all) {
    start(backward_kernel<S, Takes::all>);
  } else {
    start(backward_kernel<S, Takes::equal>);
    if (s.exponents) start(backward_kernel<S, Takes::apart>);
  }
}

}  // namespace

int64_t attention_turns(const AttentionCall& s) {
  return s.batch * s.heads * num_turns(s);
}

void attention_backward(const AttentionCall& s, const Bf16* query, const Bf16* key, const Bf16* value,
                        const Bf16* output, const float* logsumexp, const AttentionGradients& gradients,
                        float* products, int* turns, void* stream) {
  const int64_t rows = s.batch * padded_length(s) * s.heads;
  launch("attention_products", products_kernel,
         static_cast<unsigned>((rows + product_rows - 1) / product_rows), 8 * product_rows, 0, stream, s,
         output, gradients.output, products);
  for_state(s.d_state, [&](auto d_state) {
    run<d_state()>(s, query, key, value, {logsumexp, products}, gradients, turns, stream);
  });
}

}  // namespace sisa::model::kernels
