#include "model/mixers/fox.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>

#include <numbers>
#include <string>
#include <utility>

#include "model/mixers/attention_mixer.h"
#include "model/operations/augmentation.h"
#include "model/operations/forgetting.h"
#include "model/operations/functional.h"
#include "model/parameters.h"

namespace sisa::model {
namespace {

// Half the range of biases, in nats, that one segment of an evaluation resolves. Attention sums in fp32 at
// least, where a bias of this size, in heads of 64 channels, is rounded by 2e-5.
constexpr double bias_limit = 256;

class Fox : public AttentionMixer, private ScoreAugmentation {
 public:
  explicit Fox(const LayerContext& context) : Fox(context, ProjectionsFollow()) { finish_projections(); }

  std::vector<common::Parameter*> parameters() override {
    auto all = AttentionMixer::parameters();
    all.push_back(&forget_bias_);
    return all;
  }

  MixerCosts costs(int64_t length) const override {
    const auto H = static_cast<double>(shape_.num_heads);
    const double channels = H * static_cast<double>(num_bias_channels(at::kBFloat16));
    MixerCosts sum = AttentionMixer::costs(length, {.alphas = H});
    // The bias channels of the key are written, and read by attention. Backward: attention reads them and
    // writes their gradient, and the gates' sums read that.
    sum.activations += {bf16_bytes * 2 * channels, bf16_bytes * 3 * channels};
    sum.cache_bytes += bf16_bytes * channels;
    return sum;
  }

  std::vector<Reading> read(const at::Tensor& x) override {
    const at::Tensor log_forget = this->log_forget(x).to(at::kDouble);
    const auto mean = [](const at::Tensor& values) {
      return values.mean(at::IntArrayRef{0, 1}).to(at::kCPU);
    };
    return {{"half_life", -std::numbers::ln2 / mean(log_forget)}, {"forget_gate", mean(log_forget.exp())}};
  }

 protected:
  struct ProjectionsFollow {};  // those of a subclass, which then calls finish_projections
  Fox(const LayerContext& context, ProjectionsFollow)
      : AttentionMixer(context, multi_head_shape(context.config, /*rope_base=*/0)),
        forget_bias_(make_vector(context.prefix + "forget_proj.bias", context.bucket, shape_.num_heads,
                                 common::constant(context.config.real("forget_bias")))) {}
  void finish_projections() {
    forget_row_ = add_projection("forget_proj.weight", shape_.num_heads, 0.02);
    pad_projections();
  }

  ScoreAugmentation* augmentation() override { return this; }

 private:
  // (B, T, H) of score_type: summed along the sequence, hence never rounded to bf16.
  at::Tensor log_forget(const at::Tensor& x) {
    const at::Tensor gates = linear(x, projections_, forget_row_, shape_.num_heads, context_.statistics());
    return at::log_sigmoid(gates.to(score_type()) + use(forget_bias_, score_type()));
  }

  Augmentation channels(const at::Tensor& bias) const {
    const at::Tensor key = bias_channels(bias, shape_.scale, augmented_type());
    return {at::ones(key.sizes(), key.options().requires_grad(false)), key};
  }

  Augmentation augment(const at::Tensor& x) override {
    return channels(-log_forget(x).to(at::kDouble).cumsum(1));
  }

  Continuation continue_augmentation(const at::Tensor& x, AttentionCache& cache) override {
    at::Tensor& last = cache.states["exponent"];  // (B, H) fp64
    if (!last.defined())
      last = at::full({x.size(0), shape_.num_heads}, bias_limit, x.options().dtype(at::kDouble));
    SegmentedExponents segmented = continue_exponents(log_forget(x), bias_limit, last);
    return {channels(-segmented.values), std::move(segmented.segments)};
  }

  void move_offset(AttentionCache& cache, const at::Tensor& change) override {
    const at::Tensor of_keys = cache.key_channels(shape_.d_head);
    if (of_keys.defined()) change_bias(of_keys, change, shape_.scale);
  }

  int64_t forget_row_ = 0;
  common::Parameter forget_bias_;  // (H)
};

constexpr double head_norm_epsilon = 1e-5, output_norm_epsilon = 1e-6;

class FoxPro final : public Fox, private HeadTransform {
 public:
  explicit FoxPro(const LayerContext& context)
      : Fox(context, ProjectionsFollow()),
        query_norm_(norm("q_norm.weight")),
        key_norm_(norm("k_norm.weight")),
        output_norm_(norm("output_norm.weight")) {
    output_gate_row_ = add_projection("output_gate.weight", shape_.output_width(), 0.02);
    shift_row_ = add_projection("k_shift.weight", shape_.num_heads, 0.02);
    add_projection("v_shift.weight", shape_.num_heads, 0.02);
    finish_projections();
  }

  std::vector<common::Parameter*> parameters() override {
    auto all = Fox::parameters();
    all.insert(all.end(), {&query_norm_, &key_norm_, &output_norm_});
    return all;
  }

  MixerCosts costs(int64_t length) const override {
    const auto d = static_cast<double>(shape_.query_width()), H = static_cast<double>(shape_.num_heads);
    MixerCosts sum = Fox::costs(length);
    // The projection's further columns: the output's gate, and the gates of the shifts.
    sum.activations += {bf16_bytes * d + fp32_bytes * 2 * H, 2 * bf16_bytes * (d + 2 * H)};
    // What makes query and key (AttentionMixer::costs) also reads and writes the value; backward it also
    // reads query, key and value.
    sum.activations += {bf16_bytes * 2 * d, bf16_bytes * 5 * d};
    // Norm and gate of the output: read both, write one; backward read both and the gradient, write two.
    sum.activations += {bf16_bytes * 3 * d, bf16_bytes * 5 * d};
    // The projected key and value of the last token.
    sum.cache_bytes += 2 * bf16_bytes * d / static_cast<double>(length);
    return sum;
  }

 private:
  HeadTransform* head_transform() override { return this; }

  common::Parameter norm(const std::string& name) const {
    return make_norm(context_.prefix + name, context_.bucket, shape_.query_width());
  }

  // beta_t y_{t-1} + (1 - beta_t) y_t, nothing standing before the first token. y (B, T, H, ·), beta (B, T,
  // H, 1); `last`: y of the token before these, to be brought up to date; null: they begin their sequences.
  static at::Tensor shifted(const at::Tensor& y, const at::Tensor& beta, at::Tensor* last) {
    const at::Tensor first = y.narrow(1, 0, 1);
    const at::Tensor before = last && last->defined() ? *last : at::zeros_like(first);
    if (last) *last = y.narrow(1, y.size(1) - 1, 1).clone();
    return beta * at::cat({before, y.narrow(1, 0, y.size(1) - 1)}, 1) + (1 - beta) * y;
  }

  void before_attention(const at::Tensor& x, Heads& heads, SequenceStates* states) override {
    const int64_t H = shape_.num_heads;
    const at::Tensor beta = linear(x, projections_, shift_row_, 2 * H, context_.statistics()).sigmoid();
    heads.key = shifted(heads.key, beta.narrow(-1, 0, H).unsqueeze(-1), states ? &(*states)["key"] : nullptr);
    heads.value = shifted(heads.value.to(context_.statistics()), beta.narrow(-1, H, H).unsqueeze(-1),
                          states ? &(*states)["value"] : nullptr);
    heads.query = head_rms_norm(heads.query, query_norm_, head_norm_epsilon, context_.statistics());
    heads.key = head_rms_norm(heads.key, key_norm_, head_norm_epsilon, context_.statistics());
  }

  at::Tensor after_attention(const at::Tensor& x, const at::Tensor& output) override {
    const at::Tensor gate = linear(x, projections_, output_gate_row_, shape_.output_width(), x.scalar_type());
    return head_rms_norm(output.to(context_.statistics()), output_norm_, output_norm_epsilon,
                         context_.statistics()) *
           split_heads(gate.to(context_.statistics()), shape_.num_heads).sigmoid();
  }

  int64_t output_gate_row_ = 0, shift_row_ = 0;  // first rows of output_gate and of [k_shift v_shift]
  common::Parameter query_norm_, key_norm_, output_norm_;  // (d_model): of each head its own
};

std::vector<Key> fox_keys() {
  return {num_heads_key(),
          {.name = "forget_bias",
           .type = Key::Type::real,
           .default_value = 0.0,
           .low = common::from(-50),
           .high = common::to(50),
           .doc = "initial value of forget_proj.bias; the forget gate is its sigmoid, at 0 one half",
           .exported = false}};
}

constexpr const char* fox_readings = "half-life of forgetting and mean forget gate";

}  // namespace

System fox_system() {
  return {.name = "fox",
          .doc = "softmax attention without positions, whose keys lose weight by a forget gate",
          .keys = fox_keys(),
          .readings = fox_readings,
          .validate = validate_head_count,
          .make_mixer = make_mixer<Fox>};
}

System fox_pro_system() {
  return {
      .name = "fox_pro",
      .doc = "the same with shifted keys and values, normed queries and keys, and a normed and gated output",
      .keys = fox_keys(),
      .readings = fox_readings,
      .validate = validate_head_count,
      .make_mixer = make_mixer<FoxPro>};
}

}  // namespace sisa::model
