// The passes over memory that training in bf16 takes on a GPU besides matrix products and attention. Raw
// device memory, so that .cu files need no LibTorch; model/fused.h has them as operations with gradients.
//
// All arrays are contiguous and begin at multiples of 16 bytes. `stream` is a cudaStream_t of the current
// device. Sums over rows are taken in a fixed order: the same bits on every call.
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

// Of each row of logits (rows, columns), of which the first vocab_size count: the cross entropy with the
// row's target, in fp32, and its gradient softmax - onehot, 0 in the other columns, which overwrites the
// logits. columns: a multiple of 8, at most most_logits.
constexpr int64_t most_logits = 65536;
void cross_entropy(Bf16* logits, const int64_t* targets, int64_t rows, int64_t columns, int64_t vocab_size,
                   float* losses, void* stream);

// What goes before attention: query, key and value of B sequences of T tokens with H heads, out of each
// token's projections [Q K V B C], `row` numbers, to query and key [rotary | state channels | zeros], `width`
// numbers a head (model/augmentation.h has the formulas).
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
// Gradients of the projections (value's are copied) and, where there are state channels, of phases and decays
// to `sums` (B T, gates) and of the amplitudes' logarithms to `amplitude_gradients` (B T, H).
// value_strides: of sequences, tokens and heads in value_gradient.
void channels_backward(const ChannelShape& shape, const Bf16* projections, const float* cosine,
                       const float* sine, const ChannelState& state, const Bf16* query_gradient,
                       const Bf16* key_gradient, const Bf16* value_gradient,
                       const int64_t (&value_strides)[3], Bf16* gradient, float* sums,
                       float* amplitude_gradients, void* stream);

}  // namespace sisa::model::kernels
