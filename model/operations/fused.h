// Operations of training in bf16 on a GPU that take one pass over memory where LibTorch's take many
// (model/kernels/kernels.h). They stand in for those of functional.h and augmentation.h, which define what is
// computed; here less is rounded on the way. Gradients of parameters go straight into Parameter::gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "common/parameter.h"
#include "model/config.h"
#include "model/operations/functional.h"

namespace sisa::model::fused {

// Whether these operations are to be used at all; for comparisons with the plain ones. On at first.
void set_enabled(bool enabled);

// Whether they can stand in for x and, if it is defined, a gradient of the type of `gradient`: bf16 on a GPU,
// summed in fp32.
bool usable(const at::Tensor& x, const at::Tensor& gradient = {});
bool norm_usable(const at::Tensor& x, const common::Parameter& weight);
bool cross_entropy_usable(const at::Tensor& hidden, const common::Parameter& matrix);

Normed add_rms_norm(const at::Tensor& x, const at::Tensor& delta, common::Parameter& weight, double epsilon);

at::Tensor swiglu(const at::Tensor& gate_up);

// As functional.h's, but the matrix's gradient is added in the forward pass, in which the logits are at hand;
// backward() must be called on the sum itself. fp32.
at::Tensor cross_entropy_sum(const at::Tensor& hidden, common::Parameter& matrix, int64_t vocab_size,
                             const at::Tensor& targets);
// It makes logits for so many rows at a time: 0.8 GB at a vocabulary of 50,304.
constexpr int64_t logits_rows = 8192;

// What Sisa's state channels read besides the projections. Outlives every graph that was made with it.
struct StateChannels {
  common::Parameter* alpha_bias = nullptr;  // null: no decay
  common::Parameter* lambda_raw = nullptr;  // null: lambda is fixed
  double fixed_lambda_raw = 0;
  double smallest_lambda = 0;
  int64_t num_angles = 0;  // of a token, over all heads; 0: no rotation
};
// The stored rows by which x is projected: to channels [Q K V B C] by [0, channels_end), in bf16, and to
// gates [theta alpha padding] by [channels_end, gates_end), if there are any, in fp32.
struct Projection {
  int64_t channels_end, gates_end;
};
// x (B, T, d_model) projected, with rotary positions and the state channels: query and key (B, T, H, d_head +
// state channels, filled up with zeros to what attention is fast for) and value (B, T, H, d_head). cosine,
// sine (T, 1, d_head / 2) fp32. Without state channels `state` is null. num_limited: as Exponents has it,
// over all heads; undefined without decay.
struct Heads {
  at::Tensor query, key, value, num_limited;
};
bool heads_usable(const at::Tensor& x, const common::Parameter& matrix, const ModelConfig& config,
                  const Projection& rows);
Heads heads(const at::Tensor& x, common::Parameter& matrix, const ModelConfig& config, const Projection& rows,
            const at::Tensor& cosine, const at::Tensor& sine, const StateChannels* state);

// The same and attention, on GPUs for which we have an attention of our own (model/kernels/kernels.h): output
// (B, T, H d_head). `causal` decay is exact without segments, however far it goes, while it does not go
// by more than 40 nats within 16 tokens (kernels.h); unless the config says how many segments there may be.
struct Attended {
  at::Tensor output, num_limited;
};
bool attention_usable(const at::Tensor& x, const common::Parameter& matrix, const ModelConfig& config,
                      const Projection& rows);
// Whether it is, and without segments.
bool attention_in_blocks(const at::Tensor& x, const common::Parameter& matrix, const ModelConfig& config,
                         const Projection& rows);
Attended attention(const at::Tensor& x, common::Parameter& matrix, const ModelConfig& config,
                   const Projection& rows, const at::Tensor& cosine, const at::Tensor& sine,
                   const StateChannels* state);

}  // namespace sisa::model::fused
