// A block has 192 queries of one head, 64 for each of three warpgroups, and walks along the keys from the
// diagonal to the first, with the running maximum and sum of each row's softmax. A fourth role, a single
// warp, has the tiles of keys and values copied, up to `num_stages` ahead. Nothing but these copies keeps the
// warpgroups in step, so that one multiplies while another takes exponentials.
#include "model/kernels/attention.cuh"

namespace sisa::model::kernels {
namespace {

constexpr int num_groups = 3, group_rows = 64, num_queries = num_groups * group_rows;
constexpr int num_consumers = num_groups * hp::warpgroup, num_threads = num_consumers + hp::warpgroup;

template <int S>
struct Layout {  // of shared memory
  static constexpr int num_stages = S <= 64 ? 3 : 2;
  using Query = Channels<num_queries, S>;
  using Key = Channels<num_keys, S>;
  using Value = hp::Tile<num_keys, num_content>;
  static constexpr int stage_bytes = Key::bytes + Value::bytes;
  static constexpr int bytes =
      Query::bytes + num_stages * stage_bytes + (4 * num_stages + 1) * sizeof(hp::Barrier);

  Query query;
  uint8_t* stages;
  hp::Barrier *full_query, *full_key, *full_value, *empty_key, *empty_value;

  __device__ explicit Layout(uint8_t* memory)
      : query(memory),
        stages(memory + Query::bytes),
        full_query(reinterpret_cast<hp::Barrier*>(stages + num_stages * stage_bytes)),
        full_key(full_query + 1),
        full_value(full_key + num_stages),
        empty_key(full_value + num_stages),
        empty_value(empty_key + num_stages) {}
  __device__ Key key(int stage) const { return Key(stages + stage * stage_bytes); }
  __device__ Value value(int stage) const { return {stages + stage * stage_bytes + Key::bytes}; }
};

struct Maps {
  ChannelMaps query, key;
  hp::TensorMap value, output;
};

__host__ __device__ int num_query_tiles(const AttentionCall& s) {
  return (padded_length(s) + num_queries - 1) / num_queries;
}
// The last tile of keys that rows up to `row` see.
__device__ int last_key_tile(const AttentionCall& s, int row) {
  return min(row, static_cast<int>(s.length) - 1) / num_keys;
}

template <int S>
__device__ void produce(const Layout<S>& memory, const Maps& maps, const Head& head, int first_row,
                        int last_tile) {
  using L = Layout<S>;
  memory.full_query->arrive_expecting(L::Query::bytes);
  load(memory.query, maps.query, *memory.full_query, head, first_row);
  for (int i = 0; i <= last_tile; ++i) {
    const int tile = last_tile - i, stage = i % L::num_stages, round = i / L::num_stages;
    if (round > 0) memory.empty_key[stage].wait((round - 1) % 2);
    memory.full_key[stage].arrive_expecting(L::Key::bytes);
    load(memory.key(stage), maps.key, memory.full_key[stage], head, tile * num_keys);
    if (round > 0) memory.empty_value[stage].wait((round - 1) % 2);
    memory.full_value[stage].arrive_expecting(L::Value::bytes);
    hp::load(memory.value(stage), maps.value, memory.full_value[stage], 0, head.head, tile * num_keys,
             head.sequence);
  }
}

// A thread's two rows of its warpgroup's 64: 16 warp + lane / 4 and 8 further.
struct Softmax {
  float maximum[2] = {-INFINITY, -INFINITY};  // of scores, not yet scaled
  float sum[2] = {};                          // this thread's part
  float rescale[2];                           // of what was summed before

  // scores become weights; `factor`, to base 2.
  __device__ void take(float (&scores)[num_keys / 2], float factor) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float top = maximum[r];
#pragma unroll
      for (int i = 0; i < num_keys / 8; ++i)
        top = fmaxf(top, fmaxf(scores[4 * i + 2 * r], scores[4 * i + 2 * r + 1]));
      for (int distance = 1; distance < 4; distance *= 2)
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, distance));
      rescale[r] = hp::exp2_approx((maximum[r] - top) * factor);
      maximum[r] = top;
      sum[r] *= rescale[r];
      const float shift = top * factor;
#pragma unroll
      for (int i = 0; i < num_keys / 8; ++i)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          float& x = scores[4 * i + 2 * r + c];
          x = hp::exp2_approx(fmaf(x, factor, -shift));
          sum[r] += x;
        }
    }
  }
};

template <int S, bool Apart>
__device__ void consume(const AttentionCall& s, const Layout<S>& memory, const Maps& maps, const Head& head,
                        const Exponents& exponents, int first_row, int last_tile, float* logsumexp) {
  using L = Layout<S>;
  using hp::Side;
  const int group = hp::group_index(), row_in_tile = group * group_rows, first = first_row + row_in_tile,
            own = 16 * warp_of_group() + lane() / 4;
  const float factor = static_cast<float>(s.scale) * log2_e;
  // Rows beyond the sequence's end see nothing.
  const int own_last_tile = first < s.length ? last_key_tile(s, first + group_rows - 1) : -1;
  const auto release = [](hp::Barrier& barrier) {
    __syncwarp();
    if (lane() == 0) barrier.arrive();
  };
  float output[num_content / 2] = {};
  Softmax softmax;
  memory.full_query->wait(0);
  for (int i = 0; i <= last_tile; ++i) {
    const int tile = last_tile - i, stage = i % L::num_stages, parity = i / L::num_stages % 2,
              first_key = tile * num_keys;
    memory.full_key[stage].wait(parity);
    if (tile > own_last_tile) {
      memory.full_value[stage].wait(parity);
      release(memory.empty_key[stage]);
      release(memory.empty_value[stage]);
      continue;
    }
    float scores[num_keys / 2];
    const bool far = Apart && far_apart(exponents, first, first_key);
    const auto factors_of = [&] {
      return Factors<num_keys>(exponents, first + 16 * warp_of_group(), first_key, true);
    };
    start_scores<num_keys, Apart>(memory.query, row_in_tile, memory.key(stage), far, factors_of, scores);
    hp::mma_wait<0>(scores);
    release(memory.empty_key[stage]);
    if (first_key + num_keys - 1 > first) {
#pragma unroll
      for (int n = 0; n < num_keys / 2; ++n) {
        const int key = first_key + n / 4 * 8 + lane() % 4 * 2 + n % 2, query = first + own + n / 2 % 2 * 8;
        if (key > query) scores[n] = -INFINITY;
      }
    }
    softmax.take(scores, factor);
#pragma unroll
    for (int n = 0; n < num_content / 2; ++n) output[n] *= softmax.rescale[n / 2 % 2];
    hp::Block16 weights[num_keys / 16];
#pragma unroll
    for (int k = 0; k < num_keys / 16; ++k) as_operand(scores, k, 1, weights[k]);
    memory.full_value[stage].wait(parity);
    hp::mma_begin(output, weights);
    const auto values = columns_of(memory.value(stage), 0);
#pragma unroll
    for (int k = 0; k < num_keys / 16; ++k)
      hp::mma<num_content, Side::columns>(output, weights[k], values[k], true);
    hp::mma_commit();
    hp::mma_wait<0>(output);
    release(memory.empty_value[stage]);
  }

  float reciprocal[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = softmax.sum[r];
    for (int distance = 1; distance < 4; distance *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    reciprocal[r] = 1 / sum;
    const int row = first + own + 8 * r;
    if (lane() % 4 == 0 && row < padded_length(s))
      logsumexp[head.index * padded_length(s) + row] =
          row < s.length ? softmax.maximum[r] * factor + log2f(sum) : INFINITY;
  }
  // Through the memory of this warpgroup's queries, which it alone reads, until its last warp is here.
  const hp::Tile<group_rows, num_content> tile{memory.query.content.data + row_in_tile * 2 * num_content};
  hp::wait_at(1 + group, hp::warpgroup);
#pragma unroll
  for (int n = 0; n < num_content / 2; ++n) output[n] *= reciprocal[n / 2 % 2];
#pragma unroll
  for (int k = 0; k < num_content / 16; ++k) {
    hp::Block16 a;
    as_operand(output, k, 1, a);
    store_block(tile, 16 * warp_of_group(), 16 * k, a);
  }
  hp::publish_tile();
  hp::wait_at(1 + group, hp::warpgroup);
  if (threadIdx.x % hp::warpgroup == 0) {
    hp::store(tile, maps.output, 0, head.head, first, head.sequence);
    hp::start_stores();
    hp::wait_until_read();
  }
}

template <int S>
__global__ void __launch_bounds__(num_threads, 1)
    forward_kernel(AttentionCall s, const __grid_constant__ Maps maps, float* logsumexp) {
  using L = Layout<S>;
  const L memory(hp::shared_memory());
  // Blocks of one head are neighbours, since they share its keys; of them, the longest come first.
  const int tiles = num_query_tiles(s), index = static_cast<int>(blockIdx.x),
            tile = tiles - 1 - index % tiles;
  const Head head(s, index / tiles);
  const int first_row = tile * num_queries, last_tile = last_key_tile(s, first_row + num_queries - 1);
  if (threadIdx.x == 0) {
    memory.full_query->init(1);
    for (int i = 0; i < L::num_stages; ++i) {
      memory.full_key[i].init(1);
      memory.full_value[i].init(1);
      memory.empty_key[i].init(num_consumers / 32);
      memory.empty_value[i].init(num_consumers / 32);
    }
    hp::publish_barriers();
  }
  __syncthreads();
  // 65,536 registers, shared unequally.
  if (threadIdx.x < num_consumers) {
    hp::grow_registers<160>();
    const Exponents exponents(s, head);
    for_exponents<S>(exponents, first_row + num_queries - 1, 0, [&](auto apart) {
      consume<S, decltype(apart)::value>(s, memory, maps, head, exponents, first_row, last_tile, logsumexp);
    });
  } else {
    hp::shrink_registers<32>();
    if (threadIdx.x == num_consumers) produce(memory, maps, head, first_row, last_tile);
  }
}

template <int S>
void run(const AttentionCall& s, const Bf16* query, const Bf16* key, const Bf16* value, Bf16* output,
         float* logsumexp, void* stream) {
  const Maps maps{channel_maps<num_queries, S>(s, query), channel_maps<num_keys, S>(s, key),
                  content_map<num_keys>(s, value, s.value_strides), content_map<group_rows>(s, output)};
  hp::launch_with_shared("attention", forward_kernel<S>,
                         static_cast<unsigned>(s.batch * s.heads * num_query_tiles(s)), num_threads,
                         Layout<S>::bytes, stream, s, maps, logsumexp);
}

}  // namespace

bool attention_fits(int64_t d_head, int64_t d_state) {
  const bool state = d_state == 0 || d_state == 16 || d_state == 32 || d_state == 64 || d_state == 128;
  return d_head == num_content && state && hp::present();
}

int64_t attention_rows(int64_t length) {
  AttentionCall s{};
  s.length = length;
  return padded_length(s);
}

void attention(const AttentionCall& s, const Bf16* query, const Bf16* key, const Bf16* value, Bf16* output,
               float* logsumexp, void* stream) {
  for_state(s.d_state,
            [&](auto d_state) { run<d_state()>(s, query, key, value, output, logsumexp, stream); });
}

}  // namespace sisa::model::kernels
