// A block takes a token or a few, a thread one vector of 8 numbers at a time. Sines and cosines are the GPU's
// own: phases lie within [-pi, pi], where they are right to 2^-21, and bf16 has 8 bits.
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
  int segment = 0;
  float query = 1, key = 1;  // factors e^u and e^-u of its own segment, times the amplitude
  double exponent = 0;       // u
  bool limited = false;
};
__device__ Place place_of(const ChannelShape& s, const ChannelState& state, int64_t token, int head) {
  Place place;
  if (s.decays) {
    const double g = state.decays[token * s.heads + head];
    double u = g + state.offsets[token / s.length * s.heads + head];
    if (s.num_segments > 1) {
      place.segment =
          min(static_cast<int>(s.num_segments) - 1, static_cast<int>(floor(g / -state.segment_width)));
      u += place.segment * state.segment_width;
    }
    place.limited = fabs(u) > state.limit * (1 + 1e-9);
    place.exponent = fmin(fmax(u, -state.limit), state.limit);
    place.query = expf(static_cast<float>(place.exponent));
    place.key = expf(-static_cast<float>(place.exponent));
  }
  place.query *= state.amplitudes[head];
  place.key *= state.amplitudes[head];
  return place;
}
// e^-u of the key's copy in segment k, which is not before its own.
__device__ float key_factor(const ChannelState& state, const Place& place, int k, int head) {
  if (k == place.segment) return place.key;
  return state.amplitudes[head] *
         static_cast<float>(exp(-place.exponent - (k - place.segment) * state.segment_width));
}
__device__ void turns(const ChannelShape& s, const ChannelState& state, int64_t token, int head, int channel,
                      float (&cosine)[4], float (&sine)[4]) {
  float phase[4] = {};
  if (s.num_angles > 0) load4(state.phases + token * s.num_angles + (head * s.d_state + channel) / 2, phase);
#pragma unroll
  for (int p = 0; p < 4; ++p) __sincosf(phase[p], &sine[p], &cosine[p]);
}

// What the state channels of a token are multiplied by, in shared memory: cosine and sine of each angle, and
// of each head its segment, the query's factor and the key's in each segment, 0 in those before its own.
struct Factors {
  float *cosine, *sine, *query, *key;
  int* segment;
  __device__ Factors(const ChannelShape& s, float* memory)
      : cosine(memory),
        sine(cosine + s.heads * s.d_state / 2),
        query(sine + s.heads * s.d_state / 2),
        key(query + s.heads),
        segment(reinterpret_cast<int*>(key + s.heads * s.num_segments)) {}
};
__host__ __device__ int64_t factor_bytes(const ChannelShape& s) {  // a multiple of 16
  return (4 * s.heads * (s.d_state + 2 + s.num_segments) + 15) / 16 * 16;
}

constexpr int tokens_per_block = 4;

__global__ void forward_kernel(ChannelShape s, const Bf16* projections, const float* cosine_table,
                               const float* sine_table, ChannelState state, Bf16* query, Bf16* key,
                               unsigned long long* num_limited) {
  extern __shared__ float memory[];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * tokens_per_block;
  const int num_tokens =
      static_cast<int>(min(static_cast<int64_t>(tokens_per_block), s.batch * s.length - first));
  const int heads = static_cast<int>(s.heads), d_head = static_cast<int>(s.d_head),
            d_state = static_cast<int>(s.d_state), num_segments = static_cast<int>(s.num_segments),
            vectors = static_cast<int>(s.width / 8), angles = heads * d_state / 2;
  const int factors_size = static_cast<int>(factor_bytes(s) / 4);
  const auto factors_of = [&](int token) { return Factors(s, memory + token * factors_size); };
  for (int i = threadIdx.x; i < num_tokens * angles; i += blockDim.x) {
    const int token = i / angles, angle = i % angles;
    const Factors factors = factors_of(token);
    __sincosf(s.num_angles > 0 ? state.phases[(first + token) * s.num_angles + angle] : 0,
              &factors.sine[angle], &factors.cosine[angle]);
  }
  for (int i = threadIdx.x; d_state > 0 && i < num_tokens * heads; i += blockDim.x) {
    const int token = i / heads, head = i % heads;
    const Factors factors = factors_of(token);
    const Place place = place_of(s, state, first + token, head);
    if (place.limited) atomicAdd(num_limited, 1ull);
    factors.segment[head] = place.segment;
    factors.query[head] = place.query;
    for (int k = 0; k < num_segments; ++k)
      factors.key[head * num_segments + k] = k < place.segment ? 0 : key_factor(state, place, k, head);
  }
  // The rotary channels wait for nobody.
  const int rotary = d_head / 8, more = vectors - rotary;
  for (int i = threadIdx.x; i < num_tokens * 2 * heads * rotary; i += blockDim.x) {
    const int64_t token = first + i / (2 * heads * rotary);
    const int side = i / (heads * rotary) % 2, head = i / rotary % heads, channel = i % rotary * 8;
    const int64_t place = (token % s.length * d_head + channel) / 2;
    Float8 x = load8(projections + token * s.row + (side * heads + head) * d_head + channel);
    float cosine[4], sine[4];
    load4(cosine_table + place, cosine);
    load4(sine_table + place, sine);
    rotate(x, cosine, sine);
    store8((side ? key : query) + (token * heads + head) * s.width + channel, x);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < num_tokens * 2 * heads * more; i += blockDim.x) {
    const int64_t token = first + i / (2 * heads * more);
    const int side = i / (heads * more) % 2, head = i / more % heads, channel = i % more * 8;
    Float8 x{};
    if (channel < num_segments * d_state) {
      const Factors factors = factors_of(i / (2 * heads * more));
      const int k = channel / d_state, n = channel % d_state;
      const float factor = side                         ? factors.key[head * num_segments + k]
                           : k == factors.segment[head] ? factors.query[head]
                                                        : 0;
      if (factor != 0) {
        x = load8(projections + token * s.row + 3 * heads * d_head + ((side ? 0 : heads) + head) * d_state +
                  n);
        float cosine[4], sine[4];
        load4(factors.cosine + (head * d_state + n) / 2, cosine);
        load4(factors.sine + (head * d_state + n) / 2, sine);
        rotate(x, cosine, sine);
#pragma unroll
        for (int j = 0; j < 8; ++j) x.v[j] *= factor;
      }
    }
    store8((side ? key : query) + (token * heads + head) * s.width + d_head + channel, x);
  }
}

// Rotary channels of query and key, and the value.
__global__ void rotary_backward_kernel(ChannelShape s, const float* cosine_table, const float* sine_table,
                                       const Bf16* query_gradient, const Bf16* key_gradient,
                                       const Bf16* value_gradient, int64_t value_sequence,
                                       int64_t value_token, int64_t value_head, Bf16* gradient) {
  const int64_t token = blockIdx.x;
  const int64_t t = token % s.length, sequence = token / s.length;
  const int heads = static_cast<int>(s.heads), d_head = static_cast<int>(s.d_head), vectors = d_head / 8;
  for (int i = threadIdx.x; i < 3 * heads * vectors; i += blockDim.x) {
    const int part = i / (heads * vectors), head = i / vectors % heads, channel = i % vectors * 8;
    Float8 x;
    if (part == 2) {
      x = load8(value_gradient + sequence * value_sequence + t * value_token + head * value_head + channel);
    } else {
      float cosine[4], sine[4];
      x = load8((part ? key_gradient : query_gradient) + (token * heads + head) * s.width + channel);
      load4(cosine_table + (t * d_head + channel) / 2, cosine);
      load4(sine_table + (t * d_head + channel) / 2, sine);
      rotate_back(x, cosine, sine);
    }
    store8(gradient + token * (s.row + s.gates) + (part * heads + head) * d_head + channel, x);
  }
}

// A thread has 8 of a head's state channels, of C and of B. With c = R(Phi) C and the factor f of each,
// gradients of c are f times those of what attention saw; of Phi <dc, J c> + <db, J b>, J (x, y) = (-y, x);
// of u <dc, c> - <db, b>; of the amplitude's logarithm their sum.
__global__ void state_backward_kernel(ChannelShape s, const Bf16* projections, ChannelState state,
                                      const Bf16* query_gradient, const Bf16* key_gradient, Bf16* gradient,
                                      float* sums, float* amplitude_gradients) {
  const int64_t token = blockIdx.x;
  const int d_state = static_cast<int>(s.d_state), vectors = d_state / 8;
  const int64_t first = token * s.row + 3 * s.heads * s.d_head;
  const int count = static_cast<int>(s.heads) * vectors;
  // All lanes of a warp go around equally often, since they add up with one another.
  for (int i = threadIdx.x; i < (count + 31) / 32 * 32; i += blockDim.x) {
    const int item = min(i, count - 1), head = item / vectors, n = item % vectors * 8;
    const Place place = place_of(s, state, token, head);
    float cosine[4], sine[4];
    turns(s, state, token, head, n, cosine, sine);
    Float8 b = load8(projections + first + head * d_state + n);
    Float8 c = load8(projections + first + (s.heads + head) * d_state + n);
    rotate(b, cosine, sine);
    rotate(c, cosine, sine);
    const int64_t channel = (token * s.heads + head) * s.width + s.d_head + n;
    Float8 dc = load8(query_gradient + channel + place.segment * d_state), db{};
#pragma unroll
    for (int j = 0; j < 8; ++j) dc.v[j] *= place.query;
    for (int k = place.segment; k < s.num_segments; ++k) {
      const Float8 part = load8(key_gradient + channel + k * d_state);
      const float factor = key_factor(state, place, k, head);
#pragma unroll
      for (int j = 0; j < 8; ++j) db.v[j] += part.v[j] * factor;
    }
    float of_query = 0, of_key = 0, phase[4];
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const int x = 2 * p, y = x + 1;
      of_query += dc.v[x] * c.v[x] + dc.v[y] * c.v[y];
      of_key += db.v[x] * b.v[x] + db.v[y] * b.v[y];
      phase[p] = (dc.v[y] * c.v[x] - dc.v[x] * c.v[y]) + (db.v[y] * b.v[x] - db.v[x] * b.v[y]);
    }
    for (int distance = vectors / 2; distance > 0; distance /= 2) {  // over the head's channels
      of_query += __shfl_xor_sync(0xffffffffu, of_query, distance);
      of_key += __shfl_xor_sync(0xffffffffu, of_key, distance);
    }
    if (i >= count) continue;
    rotate_back(dc, cosine, sine);
    rotate_back(db, cosine, sine);
    Bf16* to = gradient + first + token * s.gates + head * d_state + n;
    store8(to, db);
    store8(to + s.heads * d_state, dc);
    if (s.num_angles > 0)
      *reinterpret_cast<float4*>(sums + token * s.gates + (head * d_state + n) / 2) =
          make_float4(phase[0], phase[1], phase[2], phase[3]);
    if (n > 0) continue;
    if (s.decays) sums[token * s.gates + s.num_angles + head] = place.limited ? 0 : of_query - of_key;
    amplitude_gradients[token * s.heads + head] = of_query + of_key;
  }
}

unsigned threads_for(int64_t items) {
  const int64_t warps = (items + 31) / 32;
  return static_cast<unsigned>(32 * (warps < 8 ? warps : 8));
}

}  // namespace

bool channels_fit(const ChannelShape& s) {
  const int64_t vectors = s.d_state / 8;
  const bool state_fits =
      s.d_state == 0 || (s.d_state % 8 == 0 && vectors <= 32 && (vectors & (vectors - 1)) == 0);
  const bool memory_fits = tokens_per_block * factor_bytes(s) <= 48 * 1024;
  return state_fits && memory_fits && s.d_head % 8 == 0 && s.row % 8 == 0 && s.gates % 4 == 0;
}

void channels(const ChannelShape& shape, const Bf16* projections, const float* cosine, const float* sine,
              const ChannelState& state, Bf16* query, Bf16* key, int64_t* num_limited, void* stream) {
  const int64_t num_tokens = shape.batch * shape.length;
  launch("channels", forward_kernel,
         static_cast<unsigned>((num_tokens + tokens_per_block - 1) / tokens_per_block), 256,
         tokens_per_block * factor_bytes(shape), stream, shape, projections, cosine, sine, state, query, key,
         reinterpret_cast<unsigned long long*>(num_limited));
}

void channels_backward(const ChannelShape& shape, const Bf16* projections, const float* cosine,
                       const float* sine, const ChannelState& state, const Bf16* query_gradient,
                       const Bf16* key_gradient, const Bf16* value_gradient,
                       const int64_t (&value_strides)[3], Bf16* gradient, float* sums,
                       float* amplitude_gradients, void* stream) {
  const auto num_tokens = static_cast<unsigned>(shape.batch * shape.length);
  launch("rotary_backward", rotary_backward_kernel, num_tokens,
         threads_for(3 * shape.heads * shape.d_head / 8), 0, stream, shape, cosine, sine, query_gradient,
         key_gradient, value_gradient, value_strides[0], value_strides[1], value_strides[2], gradient);
  if (shape.d_state == 0) return;
  launch("state_backward", state_backward_kernel, num_tokens, threads_for(shape.heads * shape.d_state / 8), 0,
         stream, shape, projections, state, query_gradient, key_gradient, gradient, sums,
         amplitude_gradients);
}

}  // namespace sisa::model::kernels
