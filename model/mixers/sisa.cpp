#include "model/mixers/sisa.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/full.h>
#include <ATen/ops/softplus.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "model/mixers/attention_mixer.h"
#include "model/mixers/transformer.h"
#include "model/operations/augmentation.h"
#include "model/operations/functional.h"

namespace sisa::model {
namespace {

// Below this lambda the state channels weigh nothing, and the gradient of sqrt(lambda) would grow without
// bound (spec 1.4).
constexpr double smallest_lambda = 1e-12;
constexpr double initial_lambda_raw = -1;
// Readings of scores take so many tokens of a sequence at most: they hold all T^2 of them.
constexpr int64_t longest_scored = 1024;

class Sisa final : public AttentionMixer {
 public:
  explicit Sisa(const LayerContext& context) : AttentionMixer(context) {
    const ModelConfig& c = context.config;
    const std::string& prefix = context.prefix;
    state_row_ = add_projection("W_B.weight", c.num_heads * c.d_state, 0.02);
    add_projection("W_C.weight", c.num_heads * c.d_state, 0.02);
    if (rotates()) gates_row_ = add_projection("theta_proj.weight", c.num_heads * c.d_state / 2, 0.01);
    if (decays()) {
      const int64_t row = add_projection("alpha_proj.weight", c.num_heads, 0.02);
      if (!rotates()) gates_row_ = row;
      alpha_bias_ = {.name = prefix + "alpha_bias",
                     .bucket = context.bucket,
                     .group = common::Group::vector,
                     .rows = c.num_heads};
      alpha_bias_.blocks = {{prefix + "alpha_proj.bias", {c.num_heads}, 0, common::constant(c.alpha_bias)}};
    }
    if (c.lambda == "learned") {
      lambda_raw_ = {.name = prefix + "lambda_raw",
                     .bucket = context.bucket,
                     .group = common::Group::lambda,
                     .rows = c.num_heads};
      lambda_raw_.blocks = {{prefix + "lambda_raw", {c.num_heads}, 0, common::constant(initial_lambda_raw)}};
    }
    pad_projections();
  }

  std::vector<common::Parameter*> parameters() override {
    auto all = AttentionMixer::parameters();
    for (common::Parameter* p : {&alpha_bias_, &lambda_raw_})
      if (p->rows > 0) all.push_back(p);
    return all;
  }

  // The published offset depends on the last token: nothing can be kept for the next one (spec 1.7).
  std::unique_ptr<MixerCache> make_cache() const override {
    return decays() && context_.config.offset == "minimax" ? nullptr : AttentionMixer::make_cache();
  }

  at::Tensor take_num_limited() override { return std::exchange(num_limited_, {}); }

  std::vector<Reading> read(const at::Tensor& x) override {
    const ModelConfig& c = context_.config;
    const State state = project_state(x);
    std::vector<Reading> readings;
    const auto add = [&](const char* name, const at::Tensor& values) {
      readings.push_back({name, values.to(at::kDouble).expand({c.num_heads}).to(at::kCPU)});
    };
    add("lambda", state.lambda);
    if (decays()) {
      const auto tokens = static_cast<double>(x.size(0) * x.size(1));
      add("half_life", -std::numbers::ln2 / state.log_alpha.mean(at::IntArrayRef{0, 1}, false, at::kDouble));
      add("decay_range", -state.log_alpha.narrow(1, 1, x.size(1) - 1).sum(1, false, at::kDouble).amin(0) / 2);
      const bool in_blocks = context_.precision == common::Precision::bf16 &&
                             fused::attention_in_blocks(x, projections_, c, fused_rows());
      add("limited_share", (in_blocks ? num_limited_in_blocks(state.log_alpha)
                                      : decay_exponents(state.log_alpha, c, c.num_segments()).num_limited) /
                               tokens);
    }
    const int64_t T = std::min<int64_t>(x.size(1), longest_scored);
    const Heads heads = project(x.narrow(1, 0, T));
    const auto first = [&](const at::Tensor& all) { return all.defined() ? all.narrow(1, 0, T) : all; };
    const at::Tensor scores =
        at::einsum("bihn,bjhn->bhij", {heads.query, heads.key}) / std::sqrt(static_cast<double>(c.d_head()));
    add("state_share", variance_share(state_scores(first(state.C), first(state.B), first(state.log_alpha),
                                                   first(state.theta), state.lambda),
                                      scores));
    return readings;
  }

 protected:
  Augmentation augment(const at::Tensor& x) override {
    const ModelConfig& c = context_.config;
    const State state = project_state(x);
    Exponents exponents;
    at::Tensor phase;
    if (decays()) {
      exponents = decay_exponents(state.log_alpha, c, c.num_segments());
      count_limited(exponents.num_limited.sum());
    }
    if (rotates()) phase = state.theta.cumsum(1);
    return rounded(model::augment(state.C, state.B, exponents, phase, state.lambda, c.d_head()));
  }

  const fused::StateChannels* state_channels() override {
    const ModelConfig& c = context_.config;
    state_channels_ = {.alpha_bias = decays() ? &alpha_bias_ : nullptr,
                       .lambda_raw = lambda_raw_.rows > 0 ? &lambda_raw_ : nullptr,
                       .fixed_lambda_raw = initial_lambda_raw,
                       .smallest_lambda = smallest_lambda,
                       .num_angles = rotates() ? c.num_heads * c.d_state / 2 : 0};
    return &state_channels_;
  }

  void count_limited(const at::Tensor& num_limited) override {
    // In training; not in an evaluation that needs the training form.
    if (!num_limited.defined() || !at::GradMode::is_enabled()) return;
    num_limited_ = num_limited_.defined() ? num_limited_ + num_limited : num_limited;
  }

  Continuation continue_augmentation(const at::Tensor& x, AttentionCache& cache) override {
    const ModelConfig& c = context_.config;
    const State state = project_state(x);
    const int64_t T = x.size(1);
    Continuation result{{}, {{0, T, {}}}};
    Exponents exponents;  // of each segment its own, hence not several in one product
    at::Tensor phase;
    if (decays()) {
      if (!cache.exponent.defined())
        cache.exponent = at::full({x.size(0), c.num_heads}, c.causal_offset, x.options().dtype(at::kDouble));
      SegmentedExponents segmented = continue_exponents(state.log_alpha, c.causal_offset, cache.exponent);
      exponents.values = segmented.values;
      result.segments = std::move(segmented.segments);
    }
    if (rotates()) {
      // Whole turns are taken off, so that a phase keeps its digits at any length (1.7).
      const at::Tensor wide = state.theta.to(at::kDouble).cumsum(1);
      phase = (cache.phase.defined() ? wide + cache.phase.unsqueeze(1) : wide).remainder(2 * M_PI);
      cache.phase = phase.select(1, T - 1).clone();
    }
    result.channels = rounded(model::augment(state.C, state.B, exponents, phase, state.lambda, c.d_head()));
    return result;
  }

 private:
  bool decays() const { return context_.config.decay == "learned"; }
  bool rotates() const { return context_.config.rotation == "learned"; }

  // In fp32 on the CPU, where it costs little, scores are computed in fp64: up to twelve times the size of
  // the gradient of alpha's bias cancels in it, and fp32 would leave it 3e-5.
  at::ScalarType score_type() const {
    return context_.precision == common::Precision::fp32 && projections_.value.is_cpu()
               ? at::kDouble
               : context_.statistics();
  }
  // In bf16 on the CPU, too, attention keeps the wider type. The gradients of decay and rotation are small
  // differences of those of query and key: with fast decay, rounding the latter to bf16 leaves alpha's bias
  // an error of 20 %, seventeen times that of scores in their direct form.
  Augmentation rounded(const Augmentation& wide) const {
    if (!common::is_bf16(context_.precision) ||
        (context_.precision == common::Precision::bf16 && wide.query.is_cpu()))
      return wide;
    return {wide.query.to(context_.compute()), wide.key.to(context_.compute())};
  }

  struct State {
    at::Tensor C, B;       // (B, T, H, d_state)
    at::Tensor log_alpha;  // (B, T, H); undefined without decay
    at::Tensor theta;      // (B, T, H, d_state / 2); undefined without rotation
    at::Tensor lambda;     // (H) or (1)
  };
  State project_state(const at::Tensor& x) {  // all of score_type
    const ModelConfig& c = context_.config;
    const int64_t width = c.num_heads * c.d_state;
    const int64_t num_angles = rotates() ? width / 2 : 0,
                  num_gates = num_angles + (decays() ? c.num_heads : 0);
    const at::Tensor state = linear(x, projections_, state_row_, 2 * width, x.scalar_type()).to(score_type());
    State result{.C = split_heads(state.narrow(-1, width, width)),
                 .B = split_heads(state.narrow(-1, 0, width))};
    at::Tensor gates;  // (B, T, angles | alphas), summed along the sequence, hence never rounded to bf16
    if (num_gates > 0)
      gates = linear(x, projections_, gates_row_, num_gates, context_.statistics()).to(score_type());
    if (rotates()) result.theta = split_heads(gates.narrow(-1, 0, num_angles));
    if (decays())
      result.log_alpha =
          -at::softplus(gates.narrow(-1, num_angles, c.num_heads) + use(alpha_bias_, score_type()));
    result.lambda = lambda();
    return result;
  }

  at::Tensor lambda() {
    const at::Tensor raw =
        lambda_raw_.rows > 0
            ? use(lambda_raw_, score_type())
            : at::full({1}, initial_lambda_raw,
                       projections_.value.options().dtype(score_type()).requires_grad(false));
    return at::softplus(raw).clamp_min(smallest_lambda);
  }

  fused::StateChannels state_channels_;
  at::Tensor num_limited_;                     // see take_num_limited
  int64_t state_row_ = 0, gates_row_ = 0;      // first rows of [W_B W_C] and of [theta_proj alpha_proj]
  common::Parameter alpha_bias_, lambda_raw_;  // (H); without rows where the config has none
};

}  // namespace

void validate_sisa(const ModelConfig& c) {
  validate_transformer(c);
  const auto require_choice = [](const char* key, const std::string& value,
                                 std::vector<std::string> choices) {
    if (std::find(choices.begin(), choices.end(), value) == choices.end())
      throw Error("model.{} is '{}'; it must be {}.", key, value, common::join_choices(choices));
  };
  if (c.d_state < 2 || c.d_state % 2 != 0)
    throw Error(
        "model.d_state is {}; it must be an even number of at least 2, since the rotation turns pairs.",
        c.d_state);
  require_choice("offset", c.offset, {"causal", "minimax"});
  require_choice("decay", c.decay, {"learned", "none"});
  require_choice("rotation", c.rotation, {"learned", "none"});
  require_choice("lambda", c.lambda, {"learned", "fixed"});
  if (!(c.clamp > 0) || c.clamp > 80)
    throw Error("model.clamp is {}; it must be above 0 and at most 80, beyond which e^80 overflows.",
                c.clamp);
  if (c.max_segments < 0)
    throw Error("model.max_segments is {}; it must be 0, for as many as it takes, or more.", c.max_segments);
  if (!(c.causal_offset > 0) || c.causal_offset > 80)
    throw Error(
        "model.causal_offset is {}; it must be above 0 and at most 80, beyond which the scores overflow.",
        c.causal_offset);
}

std::unique_ptr<Mixer> make_sisa(const LayerContext& context) {
  return std::make_unique<Sisa>(context);
}

}  // namespace sisa::model
