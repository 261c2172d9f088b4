// The passes over memory that training in bf16 takes on a GPU between its matrix products, and attention on
// GPUs of compute capability 9.0. Raw device memory, so that .cu files need no LibTorch; model/operations/fused.h has
// them as operations with gradients.
//
// Arrays begin at multiples of 16 bytes and are contiguous, unless they come with strides. `stream` is a
// cudaStream_t of the current device. Sums over rows are taken in a fixed order: the same bits on every call.
#pragma once

#include <cstdint>

namespace sisa::model::kernels {

using Bf16 = uint16_t;  // its bits

// Columns that the norm's kernels can do: a multiple of 256, at most 1024.
bool norm_fits(int64_t columns);

// sum = x + delta, rounded (delta null: sum is not written, x is taken); normed = sum * scale * weight, where
// scale = 1 / sqrt(mean(sum^2) + epsilon). (rows, columns) each; weight (columns), scales (rows).
void rms_norm(const Bf16* x, const Bf16* delta, const float* weight, float epsilon, int64_t rows,
              int64_t columns, Bf16* sum, Bf16* normed, float* scales, void* stream);
// Gradients: of the sum, which is `sum_gradient` (null: none) plus what comes through the norm; and of the
// weight, which is added to `weight_gradient`. partial_sums: norm_partial_sums(columns) numbers of workspace.
int64_t norm_partial_sums(int64_t columns);
void rms_norm_backward(const Bf16* sum, const float* scales, const float* weight, const Bf16* sum_gradient,
                       const Bf16* normed_gradient, int64_t rows, int64_t columns, Bf16* gradient,
                       float* weight_gradient, float* partial_sums, void* stream);

// silu(gate) up; gate_up (rows, 2 columns): gate, then up. columns: a multiple of 8.
void swiglu(const Bf16* gate_up, int64_t rows, int64_t columns, Bf16* output, void* stream);
void swiglu_backward(const Bf16* gate_up, const Bf16* output_gradient, int64_t rows, int64_t columns,
                     Bf16* gradient, void* stream);

// For each row of logits (rows, columns), of which the first vocab_size columns count: the cross entropy with
// the row's target, in fp32. Its gradient softmax - onehot, which is 0 in the other columns, overwrites the
// logits. columns: a multiple of 8, at most most_logits.
constexpr int64_t most_logits = 65536;
void cross_entropy(Bf16* logits, const int64_t* targets, int64_t rows, int64_t columns, int64_t vocab_size,
                   float* losses, void* stream);

// What makes decay exact at any length, where attention knows of it: the state channels of every block of
// `exponent_block` tokens have an exponent n of their own, as numbers have in block floating point. A query's
// hold e^u and a key's e^-u with u = g + exponent_step (n + 1), where n is the largest number that lets the
// block begin with a u of at most exponent_step. So a block may decay by exponent_step at least, and by twice
// that at best, until |u| <= exponent_step limits it. Factors of a query and a key
// then multiply to e^(2 exponent_step) at most, which leaves products of amplitudes, C and B of up to 6,000
// before fp32 overflows. int16 (B, H, blocks of a sequence); they grow along it.
constexpr int64_t exponent_block = 16;
constexpr double exponent_step = 40;            // nats of decay
inline int64_t num_exponents(int64_t length) {  // of a sequence
  return (length + exponent_block - 1) / exponent_block;
}

// What goes before attention: query, key and value of B sequences of T tokens with H heads, out of each
// token's projections [Q K V B C], `row` numbers, to query and key [rotary | state channels | zeros], `width`
// numbers a head (model/operations/augmentation.h has the formulas).
struct ChannelShape {
  int64_t batch, length, heads, d_head;
  int64_t d_state = 0;       // 0: no state channels; else 8 times a power of two, at most 256
  int64_t num_segments = 1;  // of decay
  int64_t width = 0;         // d_head + num_segments d_state or more; all multiples of 8
  int64_t row = 0;           // 3 H d_head + 2 H d_state
  int64_t gates = 0;         // numbers a token in `gates` below: [theta | alpha | padding]
  int64_t num_angles = 0;    // H d_state / 2; 0: no rotation
  bool decays = false;
};
bool channels_fit(const ChannelShape& shape);

// What the state channels are made of. Null where the shape says that there is none.
struct ChannelState {
  const float* phases = nullptr;      // (B T, H d_state / 2)
  const double* decays = nullptr;     // g (B T, H): the sums of log alpha
  const double* offsets = nullptr;    // (B, H), added to g
  const float* amplitudes = nullptr;  // (H): d_head^(1/4) sqrt(lambda)
  double limit = 0;                   // of |g + offset|
  double segment_width = 0;           // decay that a segment spans; 0: there is one segment
  // Or, instead of offsets and segments, exponents, which `channels` writes; limit is then exponent_step.
  int16_t* exponents = nullptr;
};

// Running sums along each sequence: theta (mod 2 pi) to phases, -softplus(alpha + bias) to decays. gates (B
// T, gates) of fp32, alpha_bias (H).
void scan_gates(const ChannelShape& shape, const float* gates, const float* alpha_bias, float* phases,
                double* decays, void* stream);
// Gradients of the gates from those of phases and decays, which stand in `sums`, (B T, gates) like the gates
// themselves; and of the bias, a number for each sequence and head: (B, H). Here and below, `gradient` has
// the channels' and the gates' gradients side by side: (B T, row + gates).
void scan_gates_backward(const ChannelShape& shape, const float* gates, const float* alpha_bias,
                         const float* sums, Bf16* gradient, float* bias_gradients, void* stream);

// query, key (B, T, H, width). cosine, sine (T, d_head / 2). `num_limited` grows by the number of (token,
// head) pairs that meet the limit.
void channels(const ChannelShape& shape, const Bf16* projections, const float* cosine, const float* sine,
              const ChannelState& state, Bf16* query, Bf16* key, int64_t* num_limited, void* stream);
// Gradients of the projections and, where there are state channels, of phases and decays to `sums` (B T,
// gates) and of the amplitudes' logarithms to `amplitude_gradients` (B T, H).
struct HeadGradients {
  const Bf16 *query = nullptr, *key = nullptr;  // (B, T, H, width)
  // Or, of our own attention: the query's in fp32, the key's (B, T, H, d_head) without those of state
  // channels, and these in fp32 (B, T, H, d_state).
  const float *query_fp32 = nullptr, *key_state_fp32 = nullptr;
  const Bf16* value = nullptr;    // null: it is among the projections' gradients already
  int64_t value_strides[3] = {};  // of sequences, tokens and heads
};
void channels_backward(const ChannelShape& shape, const Bf16* projections, const float* cosine,
                       const float* sine, const ChannelState& state, const HeadGradients& gradients,
                       Bf16* gradient, float* sums, float* amplitude_gradients, void* stream);

// Causal attention with state channels on GPUs of compute capability 9.0, such as H100: for heads of 64
// content channels and d_state more in query and key, or none.
//
// The score of tokens i >= j is the product of their content channels plus e^(exponent_step (n_j - n_i))
// times that of their state channels, with the exponents n of their blocks.
struct AttentionCall {
  int64_t batch, length, heads;
  int64_t d_state = 0;                 // 0, 16, 32, 64 or 128
  double scale = 1;                    // of scores
  const int16_t* exponents = nullptr;  // null: all are equal
  int64_t value_strides[3] = {};       // of sequences, tokens and heads, in numbers: multiples of 8
};
bool attention_fits(int64_t d_head, int64_t d_state);  // on the current device
int64_t attention_rows(int64_t length);                // of logsumexp below, for each sequence and head

// softmax(scale scores) value: query, key (B, T, H, 64 + d_state), value and output (B, T, H, 64).
// logsumexp (B, H, attention_rows(T)), base 2, of scaled scores.
void attention(const AttentionCall& shape, const Bf16* query, const Bf16* key, const Bf16* value,
               Bf16* output, float* logsumexp, void* stream);
// Its gradients. Sums are taken in a fixed order. Workspace: `products`, as long as logsumexp, and `turns`,
// as many zeros as attention_turns says.
struct AttentionGradients {
  const Bf16* output;  // the gradient that comes in
  float* query;        // (B, T, H, 64 + d_state)
  Bf16* key;           // (B, T, H, 64)
  float* key_state;    // (B, T, H, d_state)
  Bf16* value;         // to where its strides say
  int64_t value_strides[3];
};
int64_t attention_turns(const AttentionCall& shape);
void attention_backward(const AttentionCall& shape, const Bf16* query, const Bf16* key, const Bf16* value,
                        const Bf16* output, const float* logsumexp, const AttentionGradients& gradients,
                        float* products, int* turns, void* stream);

}  // namespace sisa::model::kernels
