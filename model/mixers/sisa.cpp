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

#include "model/mixers/attention_mixer.h"
#include "model/mixers/state_space_keys.h"
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

DecayOffset decay_offset(const ModelConfig& c) {
  if (c.choice("offset") == "minimax")
    return {.kind = DecayOffset::Kind::minimax, .limit = c.real("clamp"), .max_segments = 1};
  return {.kind = DecayOffset::Kind::causal,
          .limit = c.real("causal_offset"),
          .max_segments = c.whole("max_segments")};
}

class Sisa final : public AttentionMixer, private ScoreAugmentation {
 public:
  explicit Sisa(const LayerContext& context)
      : AttentionMixer(context, multi_head_shape(context.config, context.config.real("rope_base"))),
        d_state_(context.config.whole("d_state")),
        decays_(context.config.choice("decay") == "learned"),
        rotates_(context.config.choice("rotation") == "learned"),
        offset_(decay_offset(context.config)) {
    const ModelConfig& c = context.config;
    const std::string& prefix = context.prefix;
    const int64_t H = shape_.num_heads;
    state_row_ = add_projection("W_B.weight", H * d_state_, 0.02);
    add_projection("W_C.weight", H * d_state_, 0.02);
    if (rotates_) gates_row_ = add_projection("theta_proj.weight", H * d_state_ / 2, 0.01);
    if (decays_) {
      const int64_t row = add_projection("alpha_proj.weight", H, 0.02);
      if (!rotates_) gates_row_ = row;
      alpha_bias_ = {.name = prefix + "alpha_bias",
                     .bucket = context.bucket,
                     .traits = {.kind = common::ParameterKind::vector},
                     .rows = H};
      alpha_bias_.blocks = {{prefix + "alpha_proj.bias", {H}, 0, common::constant(c.real("alpha_bias"))}};
    }
    if (c.choice("lambda") == "learned") {
      lambda_raw_ = {.name = prefix + "lambda_raw",
                     .bucket = context.bucket,
                     .traits = {.kind = common::ParameterKind::vector,
                                .never_bf16 = true,
                                .never_decays = true,
                                .lr_scale = c.rate_factor("lambda_lr")},
                     .rows = H};
      lambda_raw_.blocks = {{prefix + "lambda_raw", {H}, 0, common::constant(initial_lambda_raw)}};
    }
    pad_projections();
    state_channels_ = {.d_state = d_state_,
                       .num_angles = rotates_ ? H * d_state_ / 2 : 0,
                       .offset = offset_,
                       .alpha_bias = decays_ ? &alpha_bias_ : nullptr,
                       .lambda_raw = lambda_raw_.rows > 0 ? &lambda_raw_ : nullptr,
                       .fixed_lambda_raw = initial_lambda_raw,
                       .smallest_lambda = smallest_lambda};
  }

  std::vector<common::Parameter*> parameters() override {
    auto all = AttentionMixer::parameters();
    for (common::Parameter* p : {&alpha_bias_, &lambda_raw_})
      if (p->rows > 0) all.push_back(p);
    return all;
  }

  // The published offset depends on the last token: nothing can be kept for the next one (spec 1.7).
  std::unique_ptr<MixerCache> make_cache() const override {
    return decays_ && offset_.kind == DecayOffset::Kind::minimax ? nullptr : AttentionMixer::make_cache();
  }

  MixerCosts costs(int64_t length) const override {
    const auto H = static_cast<double>(shape_.num_heads), channels = H * static_cast<double>(d_state_);
    return AttentionMixer::costs(
        length, {.channels = channels, .angles = rotates_ ? channels / 2 : 0, .alphas = decays_ ? H : 0});
  }

  std::vector<Counter> take_counters() override {
    if (!num_limited_.defined()) return {};
    // The limit of `minimax` is part of its definition.
    const bool departs = offset_.kind == DecayOffset::Kind::causal;
    return {{.name = "limited_pairs",
             .label = "pairs limited",
             .departure = departs ? "(token, head) pairs decay beyond what the training form resolves" : "",
             .count = std::exchange(num_limited_, {})}};
  }

  std::vector<Reading> read(const at::Tensor& x) override {
    const State state = project_state(x);
    std::vector<Reading> readings;
    const auto add = [&](const char* name, const at::Tensor& values) {
      readings.push_back({name, values.to(at::kDouble).expand({shape_.num_heads}).to(at::kCPU)});
    };
    add("lambda", state.lambda);
    if (decays_) {
      const auto tokens = static_cast<double>(x.size(0) * x.size(1));
      add("half_life", -std::numbers::ln2 / state.log_alpha.mean(at::IntArrayRef{0, 1}, false, at::kDouble));
      add("decay_range", -state.log_alpha.narrow(1, 1, x.size(1) - 1).sum(1, false, at::kDouble).amin(0) / 2);
      const bool in_blocks = context_.precision == common::Precision::bf16 &&
                             fused::decays_in_blocks(x, projections_, *head_projection());
      add("limited_share",
          (in_blocks ? num_limited_in_blocks(state.log_alpha) : exponents(state.log_alpha).num_limited) /
              tokens);
    }
    const int64_t T = std::min<int64_t>(x.size(1), longest_scored);
    const Heads heads = project(x.narrow(1, 0, T));
    const auto first = [&](const at::Tensor& all) { return all.defined() ? all.narrow(1, 0, T) : all; };
    const at::Tensor scores = at::einsum("bihn,bjhn->bhij", {heads.query, heads.key}) /
                              std::sqrt(static_cast<double>(shape_.d_head));
    add("state_share", variance_share(state_scores(first(state.C), first(state.B), first(state.log_alpha),
                                                   first(state.theta), state.lambda),
                                      scores));
    return readings;
  }

 protected:
  ScoreAugmentation* augmentation() override { return this; }

 private:
  Augmentation augment(const at::Tensor& x) override {
    const State state = project_state(x);
    Exponents exponents;
    at::Tensor phase;
    if (decays_) {
      exponents = this->exponents(state.log_alpha);
      count_limited(exponents.num_limited.sum());
    }
    if (rotates_) phase = state.theta.cumsum(1);
    return rounded(model::augment(state.C, state.B, exponents, phase, state.lambda, shape_.d_head));
  }

  void move_offset(AttentionCache& cache, const at::Tensor& change) override {
    cache.scale_keys(shape_.d_head, change);
  }

  const fused::StateChannels* state_channels() override { return &state_channels_; }

  void count_limited(const at::Tensor& num_limited) override {
    // In training; not in an evaluation that needs the training form.
    if (!num_limited.defined() || !at::GradMode::is_enabled()) return;
    num_limited_ = num_limited_.defined() ? num_limited_ + num_limited : num_limited;
  }

  Continuation continue_augmentation(const at::Tensor& x, AttentionCache& cache) override {
    const State state = project_state(x);
    const int64_t T = x.size(1);
    Continuation result{{}, {{0, T, {}}}};
    Exponents exponents;  // of each segment its own, hence not several in one product
    at::Tensor phase;
    if (decays_) {
      at::Tensor& last = cache.states["exponent"];  // (B, H) fp64
      if (!last.defined())
        last = at::full({x.size(0), shape_.num_heads}, offset_.limit, x.options().dtype(at::kDouble));
      SegmentedExponents segmented = continue_exponents(state.log_alpha, offset_.limit, last);
      exponents.values = segmented.values;
      result.segments = std::move(segmented.segments);
    }
    if (rotates_) {
      // Whole turns are taken off, so that a phase keeps its digits at any length (1.7).
      const at::Tensor wide = state.theta.to(at::kDouble).cumsum(1);
      at::Tensor& last = cache.states["phase"];  // (B, H, d_state / 2) fp64
      phase = (last.defined() ? wide + last.unsqueeze(1) : wide).remainder(2 * M_PI);
      last = phase.select(1, T - 1).clone();
    }
    result.channels =
        rounded(model::augment(state.C, state.B, exponents, phase, state.lambda, shape_.d_head));
    return result;
  }

  Exponents exponents(const at::Tensor& log_alpha) const {
    return decay_exponents(log_alpha, offset_, offset_.num_segments(shape_.d_head, d_state_));
  }

  Augmentation rounded(const Augmentation& wide) const {
    return {wide.query.to(augmented_type()), wide.key.to(augmented_type())};
  }

  struct State {
    at::Tensor C, B;       // (B, T, H, d_state)
    at::Tensor log_alpha;  // (B, T, H); undefined without decay
    at::Tensor theta;      // (B, T, H, d_state / 2); undefined without rotation
    at::Tensor lambda;     // (H) or (1)
  };
  State project_state(const at::Tensor& x) {  // all of score_type
    const int64_t H = shape_.num_heads, width = H * d_state_;
    const int64_t num_angles = rotates_ ? width / 2 : 0, num_gates = num_angles + (decays_ ? H : 0);
    const at::Tensor state = linear(x, projections_, state_row_, 2 * width, x.scalar_type()).to(score_type());
    State result{.C = split_heads(state.narrow(-1, width, width), H),
                 .B = split_heads(state.narrow(-1, 0, width), H)};
    at::Tensor gates;  // (B, T, angles | alphas), summed along the sequence, hence never rounded to bf16
    if (num_gates > 0)
      gates = linear(x, projections_, gates_row_, num_gates, context_.statistics()).to(score_type());
    if (rotates_) result.theta = split_heads(gates.narrow(-1, 0, num_angles), H);
    if (decays_)
      result.log_alpha = -at::softplus(gates.narrow(-1, num_angles, H) + use(alpha_bias_, score_type()));
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

  int64_t d_state_;
  bool decays_, rotates_;
  DecayOffset offset_;
  fused::StateChannels state_channels_;
  at::Tensor num_limited_;                     // since the last take_counters; undefined: nothing was counted
  int64_t state_row_ = 0, gates_row_ = 0;      // first rows of [W_B W_C] and of [theta_proj alpha_proj]
  common::Parameter alpha_bias_, lambda_raw_;  // (H); without rows where the config has none
};

std::vector<Key> sisa_keys() {
  const auto choice = [](const char* name, const char* first, const char* second, const char* doc) {
    return Key{.name = name,
               .type = Key::Type::choice,
               .default_value = std::string(first),
               .choices = {first, second},
               .doc = doc};
  };
  const Key::Choice causal{"offset", "causal"}, minimax{"offset", "minimax"};
  return {
      num_heads_key(),
      rope_base_key(),
      d_state_key(16),
      choice("offset", "causal", "minimax",
             "what keeps decays in range; minimax: as published, where a token's loss depends on later ones"),
      {.name = "clamp",
       .type = Key::Type::real,
       .default_value = 11.0,
       .low = common::above(0),
       .high = common::to(80),
       .doc = "bound of the exponents; above 80 fp32 overflows",
       .only_with = minimax},
      {.name = "causal_offset",
       .type = Key::Type::real,
       .default_value = 60.0,
       .low = common::above(0),
       .high = common::to(80),
       .doc =
           "half the range of total decay, in nats, that one segment resolves; above 80 fp32 overflows; in "
           "training without effect where there are no segments",
       .only_with = causal,
       .exported = false},
      {.name = "max_segments",
       .type = Key::Type::whole,
       .default_value = int64_t{0},
       .low = common::from(0),
       .high = common::to(1024),
       .doc = "segments of decay in training, each with its own d_state channels where it is needed; what "
              "decays "
              "further is limited and counted; 0: none where blocks of 16 tokens have exponents instead "
              "(bf16 on "
              "H100, heads of 64 channels, d_state 16, 32, 64 or 128), elsewhere as many as make 192 of a "
              "head's "
              "channels",
       .only_with = causal,
       .exported = false},
      {.name = "alpha_bias",
       .type = Key::Type::real,
       .default_value = -5.0,
       .low = common::from(-50),
       .high = common::to(50),
       .doc = "initial value of alpha_proj.bias",
       .exported = false},
      choice("decay", "learned", "none", "none: alpha = 1 everywhere"),
      choice("rotation", "learned", "none", "none: theta = 0 everywhere"),
      choice("lambda", "learned", "fixed", "fixed: lambda stays at its initial value"),
  };
}

void validate_sisa(const ModelConfig& c) {
  validate_heads(c);
  const int64_t d_state = c.whole("d_state");
  if (d_state % 2 != 0)
    throw ConfigError(
        {"d_state"},
        fmt::format(
            "model.d_state is {}; it must be an even number of at least 2, since the rotation turns pairs.",
            d_state));
}

}  // namespace

System sisa_system() {
  return {.name = "sisa",
          .doc = "softmax attention with rotary positions, whose score a state-space score adds to",
          .keys = sisa_keys(),
          .learning_rates = {{.name = "lambda_lr", .divisor = 10, .doc = "the same for SISA's lambda"}},
          .readings = "range and half-life of decays, lambda, share of the state term in the scores",
          .validate = validate_sisa,
          .make_mixer = make_mixer<Sisa>};
}

}  // namespace sisa::model
