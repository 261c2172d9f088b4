// A block has a few tokens of one sequence, so that all of a token's channels are read and written at about
// the same time: a line of memory that a head begins in its middle then moves once. A thread has a vector of
// 8 rotary channels in each of these tokens, or of 8 state channels in one. Sines and cosines are the GPU's
// own: phases lie within [-pi, pi], where they are right to 2^-21, and bf16 has 8 bits.
#include <algorithm>

#include "model/kernels/vector.cuh"

namespace sisa::model::kernels {
namespace {

// Pairs (2p, 2p + 1) turned by their angles.
__device__ void rotate(Float8& x, const float (&cosine)[4], const float (&sine)[4]) {
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const float a = x.v[2 * p], b = x.v[2 * p + 1];
    x.v[2 * p] = a * cosine[p] - b * sine[p];
    x.v[2 * p + 1] = a * sine[p] + b * cosine[p];
  }
}
__device__ void rotate_back(Float8& x, const float (&cosine)[4], const float (&sine)[4]) {
  const float opposite[4] = {-sine[0], -sine[1], -sine[2], -sine[3]};
  rotate(x, cosine, opposite);
}
__device__ void load4(const float* from, float (&to)[4]) {
  const float4 x = *reinterpret_cast<const float4*>(from);
  to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
}

// Where a token stands in one head.
struct Place {
  int segment = 0, exponent_of_block = 0;
  float query = 1, key = 1;  // factors e^u and e^-u of its own segment, times the amplitude
  float exponent = 0;        // u
  bool limited = false;
};
__device__ Place place_of(const ChannelShape& s, const ChannelState& state, int64_t sequence, int64_t token,
                          int head) {
  Place place;
  if (s.decays) {
    const double g = state.decays[token * s.heads + head];
    double u = g;
    if (state.exponents) {
      const int64_t in_block = (token - sequence * s.length) % exponent_block;
      const double first = state.decays[(token - in_block) * s.heads + head];
      place.exponent_of_block = static_cast<int>(fmin(floor(first / -exponent_step), 32766.0));
      u += exponent_step * (place.exponent_of_block + 1);
    } else {
      u += state.offsets[sequence * s.heads + head];
    }
    if (s.num_segments > 1) {
      place.segment =
          min(static_cast<int>(s.num_segments) - 1, static_cast<int>(floor(g / -state.segment_width)));
      u += place.segment * state.segment_width;
    }
    place.limited = fabs(u) > state.limit * (1 + 1e-9);
    place.exponent = static_cast<float>(fmin(fmax(u, -state.limit), state.limit));
    place.query = expf(place.exponent);
    place.key = expf(-place.exponent);
  }
  place.query *= state.amplitudes[head];
  place.key *= state.amplitudes[head];
  return place;
}
// e^-u of the key's copy in segment k, times the amplitude; 0 before its own.
__device__ float key_factor(const ChannelState& state, const Place& place, int k, int head) {
  if (k <= place.segment) return k == place.segment ? place.key : 0;
  const float more = static_cast<float>((k - place.segment) * state.segment_width);
  return state.amplitudes[head] * expf(-place.exponent - more);
}

__device__ int64_t blocks_of(const ChannelShape& s) {
  return (s.length + exponent_block - 1) / exponent_block;
}

constexpr int tokens_per_block = 4;
constexpr int64_t most_threads = 512;

__host__ __device__ int whole_warps(int64_t threads) {
  return static_cast<int>((threads + 31) / 32 * 32);
}
__host__ __device__ int num_blocks(const ChannelShape& s) {  // of a sequence
  return static_cast<int>((s.length + tokens_per_block - 1) / tokens_per_block);
}
// The tokens of a block.
struct Tokens {
  int64_t sequence;
  int first, count;  // in the sequence
  __device__ explicit Tokens(const ChannelShape& s)
      : sequence(blockIdx.x / num_blocks(s)),
        first(static_cast<int>(blockIdx.x) % num_blocks(s) * tokens_per_block),
        count(min(tokens_per_block, static_cast<int>(s.length) - first)) {}
};

// 8 state channels: `channel` and those after it, in one head of one token. Items from the last on are all
// the last, and not `inside`.
struct StateItem {
  int64_t sequence, token;  // the token among all sequences'
  int head, channel;
  bool inside;
};
__host__ __device__ int state_items(const ChannelShape& s) {  // of a block
  return static_cast<int>(tokens_per_block * s.heads * s.d_state / 8);
}
__device__ StateItem state_item(const ChannelShape& s, const Tokens& tokens, int item) {
  const int vectors = static_cast<int>(s.d_state / 8), per_token = static_cast<int>(s.heads) * vectors;
  const int count = tokens.count * per_token, used = min(item, count - 1);
  return {tokens.sequence, tokens.sequence * s.length + tokens.first + used / per_token,
          used % per_token / vectors, used % vectors * 8, item < count};
}
__device__ void angles(const ChannelShape& s, const ChannelState& state, const StateItem& item,
                       float (&cosine)[4], float (&sine)[4]) {
  float phase[4] = {};
  if (s.num_angles > 0)
    load4(state.phases + item.token * s.num_angles + (item.head * s.d_state + item.channel) / 2, phase);
#pragma unroll
  for (int p = 0; p < 4; ++p) __sincosf(phase[p], &sine[p], &cosine[p]);
}
__device__ Float8 as_stored(const Float8& x) {
  return unpack8(pack8(x));
}
__device__ Float8 scaled(const Float8& x, float factor) {
  Float8 result;
#pragma unroll
  for (int j = 0; j < 8; ++j) result.v[j] = x.v[j] * factor;
  return result;
}

// Vector `item` of query and key: of their rotary channels and, without state channels, the zeros after them.
__host__ __device__ int rotary_items(const ChannelShape& s) {
  return static_cast<int>(2 * s.heads * (s.d_state > 0 ? s.d_head : s.width) / 8);
}
__device__ void rotary_channels(const ChannelShape& s, const Tokens& tokens, int item,
                                const Bf16* __restrict__ projections, const float* __restrict__ cosine_table,
                                const float* __restrict__ sine_table, Bf16* __restrict__ query,
                                Bf16* __restrict__ key) {
  const int heads = static_cast<int>(s.heads), d_head = static_cast<int>(s.d_head),
            vectors = rotary_items(s) / (2 * heads), side = item / (heads * vectors),
            head = item / vectors % heads, channel = item % vectors * 8;
#pragma unroll
  for (int j = 0; j < tokens_per_block; ++j) {
    if (j >= tokens.count) break;
    const int t = tokens.first + j;
    const int64_t token = tokens.sequence * s.length + t;
    Float8 x{};
    if (channel < d_head) {
      x = load8(projections + token * s.row + (side * heads + head) * d_head + channel);
      float cosine[4], sine[4];
      load4(cosine_table + (t * d_head + channel) / 2, cosine);
      load4(sine_table + (t * d_head + channel) / 2, sine);
      rotate(x, cosine, sine);
    }
    store8((side ? key : query) + (token * heads + head) * s.width + channel, x);
  }
}

// State channels in each segment, and the zeros after the last.
__device__ void state_channels(const ChannelShape& s, const StateItem& item,
                               const Bf16* __restrict__ projections, const ChannelState& state,
                               Bf16* __restrict__ query, Bf16* __restrict__ key,
                               unsigned long long* num_limited) {
  if (!item.inside) return;
  const int d_state = static_cast<int>(s.d_state), num_segments = static_cast<int>(s.num_segments),
            after_rotary = static_cast<int>(s.width - s.d_head);
  const Bf16* from =
      projections + item.token * s.row + 3 * s.heads * s.d_head + item.head * d_state + item.channel;
  Float8 b = load8(from), c = load8(from + s.heads * d_state);
  float cosine[4], sine[4];
  angles(s, state, item, cosine, sine);
  rotate(b, cosine, sine);
  rotate(c, cosine, sine);
  const Place place = place_of(s, state, item.sequence, item.token, item.head);
  if (place.limited && item.channel == 0) atomicAdd(num_limited, 1ull);
  const int64_t t = item.token - item.sequence * s.length;
  if (state.exponents && item.channel == 0 && t % exponent_block == 0)
    state.exponents[(item.sequence * s.heads + item.head) * blocks_of(s) + t / exponent_block] =
        static_cast<int16_t>(place.exponent_of_block);
  const int64_t to = (item.token * s.heads + item.head) * s.width + s.d_head;
  for (int n = item.channel, k = 0; n < after_rotary; n += d_state, ++k) {
    const float of_key = k < num_segments ? key_factor(state, place, k, item.head) : 0;
    store8(query + to + n, k == place.segment ? scaled(c, place.query) : Float8{});
    store8(key + to + n, of_key != 0 ? scaled(b, of_key) : Float8{});
  }
}

__global__ void __launch_bounds__(most_threads)
    forward_kernel(ChannelShape s, const Bf16* projections, const float* cosine_table,
                   const float* sine_table, ChannelState state, Bf16* query, Bf16* key,
                   unsigned long long* num_limited) {
  const Tokens tokens(s);
  const int rotary = whole_warps(rotary_items(s)), all = rotary + whole_warps(state_items(s));
  for (int i = threadIdx.x; i < all; i += blockDim.x) {
    if (i >= rotary)
      state_channels(s, state_item(s, tokens, i - rotary), projections, state, query, key, num_limited);
    else if (i < rotary_items(s))
      rotary_channels(s, tokens, i, projections, cosine_table, sine_table, query, key);
  }
}

// Gradients come in two kernels: in one, the registers of the state channels would leave few threads for the
// rotary ones (5 to 30 % slower).
//
// What comes back from attention: `stride` numbers for each token and head.
template <typename Number>
struct Incoming {
  const Number* data;
  int stride;
  __device__ Float8 at(int64_t token, int heads, int head, int channel) const {
    return load8(data + (token * heads + head) * stride + channel);
  }
};

// Rotary channels of query and key, and the value, if there is one.
__host__ __device__ int rotary_backward_items(const ChannelShape& s, bool with_value) {
  return static_cast<int>((with_value ? 3 : 2) * s.heads * s.d_head / 8);
}
template <typename Query>
__global__ void __launch_bounds__(most_threads)
    rotary_backward_kernel(ChannelShape s, const float* __restrict__ cosine_table,
                           const float* __restrict__ sine_table, Incoming<Query> query, Incoming<Bf16> key,
                           const Bf16* __restrict__ value_gradient, int64_t value_sequence,
                           int64_t value_token, int64_t value_head, Bf16* __restrict__ gradient) {
  const Tokens tokens(s);
  const int heads = static_cast<int>(s.heads), d_head = static_cast<int>(s.d_head), vectors = d_head / 8;
  for (int i = threadIdx.x; i < rotary_backward_items(s, value_gradient != nullptr); i += blockDim.x) {
    const int part = i / (heads * vectors), head = i / vectors % heads, channel = i % vectors * 8;
#pragma unroll
    for (int j = 0; j < tokens_per_block; ++j) {
      if (j >= tokens.count) break;
      const int t = tokens.first + j;
      const int64_t token = tokens.sequence * s.length + t;
      Float8 x;
      if (part == 2) {
        x = load8(value_gradient + tokens.sequence * value_sequence + t * value_token + head * value_head +
                  channel);
      } else {
        float cosine[4], sine[4];
        x = part ? key.at(token, heads, head, channel) : query.at(token, heads, head, channel);
        load4(cosine_table + (t * d_head + channel) / 2, cosine);
        load4(sine_table + (t * d_head + channel) / 2, sine);
        rotate_back(x, cosine, sine);
      }
      store8(gradient + token * (s.row + s.gates) + (part * heads + head) * d_head + channel, x);
    }
  }
}

// Sums over 8 channels x that attention saw, with their gradients d: <d, x>, and for each pair <d, J x>, J
// (x, y) = (-y, x).
__device__ void add_products(const Float8& d, const Float8& x, float& sum, float (&pairs)[4]) {
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const float dx = d.v[2 * p], dy = d.v[2 * p + 1], a = x.v[2 * p], b = x.v[2 * p + 1];
    sum += dx * a + dy * b;
    pairs[p] += dy * a - dx * b;
  }
}

// Attention saw f c, rounded, where c = R(Phi) C and f is a factor. The gradient of c is f times that of what
// it saw, that of Phi <d, J f c>; of u <d, f c> of the query less that of the key; of the amplitude's
// logarithm their sum. That u and Phi matter where they differ between tokens alone, these sums show if they
// take the rounded channels: what a token contributes to its own score then cancels. `state` holds key's
// channels.
template <typename Query, typename State>
__global__ void __launch_bounds__(most_threads)
    state_backward_kernel(ChannelShape s, const Bf16* __restrict__ projections, ChannelState state,
                          Incoming<Query> of_query, Incoming<State> of_key, Bf16* __restrict__ gradient,
                          float* __restrict__ sums, float* __restrict__ amplitude_gradients) {
  const Tokens tokens(s);
  // All lanes of a warp go around equally often, since they add up with one another.
  for (int i = threadIdx.x; i < whole_warps(state_items(s)); i += blockDim.x) {
    const StateItem item = state_item(s, tokens, i);
    const int heads = static_cast<int>(s.heads), d_state = static_cast<int>(s.d_state), head = item.head,
              n = item.channel;
    const int64_t token = item.token, first = token * s.row + 3 * s.heads * s.d_head + head * d_state + n;
    Float8 b = load8(projections + first), c = load8(projections + first + s.heads * d_state);
    float cosine[4], sine[4];
    angles(s, state, item, cosine, sine);
    rotate(b, cosine, sine);
    rotate(c, cosine, sine);
    const Place place = place_of(s, state, item.sequence, token, head);
    float query_sum = 0, key_sum = 0, phase[4] = {};
    Float8 dc = of_query.at(token, heads, head, static_cast<int>(s.d_head) + n + place.segment * d_state),
           db{};
    add_products(dc, as_stored(scaled(c, place.query)), query_sum, phase);
    dc = scaled(dc, place.query);
    for (int k = place.segment; k < s.num_segments; ++k) {
      const Float8 part = of_key.at(token, heads, head, n + k * d_state);
      const float factor = key_factor(state, place, k, head);
      add_products(part, as_stored(scaled(b, factor)), key_sum, phase);
#pragma unroll
      for (int j = 0; j < 8; ++j) db.v[j] += part.v[j] * factor;
    }
    for (int distance = d_state / 16; distance > 0; distance /= 2) {  // over the head's channels
      query_sum += __shfl_xor_sync(0xffffffffu, query_sum, distance);
      key_sum += __shfl_xor_sync(0xffffffffu, key_sum, distance);
    }
    if (!item.inside) continue;
    rotate_back(dc, cosine, sine);
    rotate_back(db, cosine, sine);
    store8(gradient + first + token * s.gates, db);
    store8(gradient + first + token * s.gates + s.heads * d_state, dc);
    if (s.num_angles > 0)
      *reinterpret_cast<float4*>(sums + token * s.gates + (head * d_state + n) / 2) =
          make_float4(phase[0], phase[1], phase[2], phase[3]);
    if (n > 0) continue;
    if (s.decays) sums[token * s.gates + s.num_angles + head] = place.limited ? 0 : query_sum - key_sum;
    amplitude_gradients[token * s.heads + head] = query_sum + key_sum;
  }
}

dim3 threads_for(int64_t items) {
  return static_cast<unsigned>(std::min<int64_t>(whole_warps(items), most_threads));
}
dim3 grid(const ChannelShape& s) {
  return static_cast<unsigned>(s.batch * num_blocks(s));
}

}  // namespace

bool channels_fit(const ChannelShape& s) {
  const int64_t vectors = s.d_state / 8;
  const bool state_fits =
      s.d_state == 0 || (s.d_state % 8 == 0 && vectors <= 32 && (vectors & (vectors - 1)) == 0);
  return state_fits && s.d_head % 8 == 0 && s.row % 8 == 0 && s.gates % 4 == 0;
}

void channels(const ChannelShape& shape, const Bf16* projections, const float* cosine, const float* sine,
              const ChannelState& state, Bf16* query, Bf16* key, int64_t* num_limited, void* stream) {
  launch("channels", forward_kernel, grid(shape),
         threads_for(whole_warps(rotary_items(shape)) + state_items(shape)), 0, stream, shape, projections,
         cosine, sine, state, query, key, reinterpret_cast<unsigned long long*>(num_limited));
}

namespace {
template <typename Query, typename State>
void run_backward(const ChannelShape& shape, const Bf16* projections, const float* cosine, const float* sine,
                  const ChannelState& state, const Incoming<Query>& query, const Incoming<Bf16>& key,
                  const Incoming<State>& key_state, const HeadGradients& in, Bf16* gradient, float* sums,
                  float* amplitude_gradients, void* stream) {
  launch("rotary_backward", rotary_backward_kernel<Query>, grid(shape),
         threads_for(rotary_backward_items(shape, in.value != nullptr)), 0, stream, shape, cosine, sine,
         query, key, in.value, in.value_strides[0], in.value_strides[1], in.value_strides[2], gradient);
  if (shape.d_state == 0) return;
  launch("state_backward", state_backward_kernel<Query, State>, grid(shape), threads_for(state_items(shape)),
         0, stream, shape, projections, state, query, key_state, gradient, sums, amplitude_gradients);
}
}  // namespace

void channels_backward(const ChannelShape& shape, const Bf16* projections, const float* cosine,
                       const float* sine, const ChannelState& state, const HeadGradients& in, Bf16* gradient,
                       float* sums, float* amplitude_gradients, void* stream) {
  const int width = static_cast<int>(shape.width), d_head = static_cast<int>(shape.d_head);
  const auto run = [&](const auto& query, const auto& key, const auto& key_state) {
    run_backward(shape, projections, cosine, sine, state, query, key, key_state, in, gradient, sums,
                 amplitude_gradients, stream);
  };
  if (in.query_fp32)
    run(Incoming<float>{in.query_fp32, width}, Incoming<Bf16>{in.key, d_head},
        Incoming<float>{in.key_state_fp32, static_cast<int>(shape.d_state)});
  else
    run(Incoming<Bf16>{in.query, width}, Incoming<Bf16>{in.key, width},
        Incoming<Bf16>{in.key + d_head, width});
}

}  // namespace sisa::model::kernels
