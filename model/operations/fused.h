// Operations of training in bf16 on a GPU that take one pass over memory where LibTorch's take many
// (model/kernels/kernels.h). They stand in for those of functional.h and augmentation.h, which define what is
// computed; here less is rounded on the way. Gradients of parameters go straight into Parameter::gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "common/parameter.h"
#include "model/operations/attention_shape.h"
#include "model/operations/decay.h"
#include "model/operations/normed.h"

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

// What state channels (augmentation.h) are made of besides the projections. Outlives every graph made with it.
struct StateChannels {
  int64_t d_state = 0;     // channels a head
  int64_t num_angles = 0;  // of a token, over all heads; 0: no rotation
  DecayOffset offset;
  common::Parameter* alpha_bias = nullptr;  // (H); null: no decay
  common::Parameter* lambda_raw = nullptr;  // (H); null: lambda is fixed
  double fixed_lambda_raw = 0;
  double smallest_lambda = 0;
};
// The stored matrix that projects a layer's input to what attention reads: its rows [0, channels_end) give the
// channels [Q K V B C], in bf16, and its rows [channels_end, gates_end), if there are any, the gates [theta
// alpha padding], in fp32.
struct HeadProjection {
  AttentionShape shape;
  int64_t channels_end = 0, gates_end = 0;
  const StateChannels* state = nullptr;  // null: there are none, no B, no C and no gates
};

// What these operations can do of the way from a layer's input x (B, T, d_model) to attention's output.
enum class Service {
  none,       // neither
  heads,      // query, key and value; attention is LibTorch's
  attention,  // all of it: on GPUs for which we have an attention of our own (model/kernels/kernels.h)
};
Service service(const at::Tensor& x, const common::Parameter& matrix, const HeadProjection& projection);
// Whether it is all of it, and every block of tokens has an exponent of its own instead of segments: `causal`
// decay is then exact, however far it goes, while it does not go by more than 40 nats within 16 tokens
// (kernels.h). So it is unless the offset says how many segments there may be.
bool decays_in_blocks(const at::Tensor& x, const common::Parameter& matrix, const HeadProjection& projection);

// x projected, with rotary positions and the state channels: query and key (B, T, H, d_head + state channels,
// filled up with zeros to what attention is fast for) and value (B, T, H, d_head). cosine, sine (T, 1,
// d_head / 2) fp32. num_limited: as Exponents has it, over all heads; undefined without decay.
struct Heads {
  at::Tensor query, key, value, num_limited;
};
Heads heads(const at::Tensor& x, common::Parameter& matrix, const HeadProjection& projection,
            const at::Tensor& cosine, const at::Tensor& sine);

// The same and attention: output (B, T, H d_head).
struct Output {
  at::Tensor output, num_limited;
};
Output attention(const at::Tensor& x, common::Parameter& matrix, const HeadProjection& projection,
                 const at::Tensor& cosine, const at::Tensor& sine);

}  // namespace sisa::model::fused
