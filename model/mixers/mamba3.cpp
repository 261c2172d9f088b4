#include "model/mixers/mamba3.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "model/mixers/mixer.h"
#include "model/mixers/sequence_states.h"
#include "model/mixers/state_space_keys.h"
#include "model/operations/functional.h"
#include "model/operations/state_space.h"
#include "model/parameters.h"

namespace sisa::model {
namespace {

constexpr double state_norm_epsilon = 1e-5;
constexpr double least_decay = 1e-4;  // A is at most minus this

// What a token's decay rate is made by from its projection: 1 + a for a >= 0 and 1 / (1 - a) below.
at::Tensor heavy_tail(const at::Tensor& a) {
  return a.clamp_min(0) + 1 / (1 - a.clamp_max(0));
}

// With A_t = -act(dd_A_t), Delta_t = softplus(dd_dt_t + dt_bias), lam_t = sigmoid(trap_t) and
// alpha_t = e^{Delta_t A_t},
//   S_t = alpha_t S_{t-1} + (1 - lam_t) Delta_t alpha_t x_{t-1} k_{t-1}^T + lam_t Delta_t x_t k_t^T,
//   y_t = S_t q_t + D x_t.
// The second term of a token and the third of the one before it make one weight for x_{t-1} k_{t-1}^T in all
// later states, which the scan takes; in its own output a token has the third alone.
class Mamba3 final : public Mixer {
 public:
  explicit Mamba3(const LayerContext& context)
      : compute_(context.compute()),
        statistics_(context.statistics()),
        d_inner_(context.config.whole("d_inner")),
        d_state_(context.config.whole("d_state")),
        head_dim_(context.config.whole("head_dim")),
        num_heads_(d_inner_ / head_dim_),
        num_angles_(d_state_ / 4),
        chunk_length_(context.config.whole("chunk_length")),
        has_heavy_tail_(context.config.choice("decay_activation") == "heavy_tail") {
    const int64_t d = context.config.d_model, rows = num_channels() + num_gates();
    const std::string prefix = context.prefix + "mamba.";
    const auto vector = [&](const char* name, int64_t size, const common::Distribution& initial) {
      return make_vector(prefix + name, context.bucket, size, initial);
    };
    const auto state_bias = [&](const char* name) {
      common::Parameter bias = vector(name, num_heads_, common::constant(1));
      bias.columns = d_state_;
      bias.blocks.front().shape = {num_heads_, 1, d_state_};
      return bias;
    };
    in_ = make_matrix(prefix + "in_proj.weight", context.bucket, rows, d, context.padded(rows),
                      projection_init(context.config, d));
    dt_bias_ = vector("dt_bias", num_heads_, time_step_bias());
    B_bias_ = state_bias("B_bias");
    C_bias_ = state_bias("C_bias");
    B_norm_ = make_norm(prefix + "B_norm.weight", context.bucket, d_state_);
    C_norm_ = make_norm(prefix + "C_norm.weight", context.bucket, d_state_);
    D_ = vector("D", num_heads_, common::constant(1));
    out_ = make_matrix(prefix + "out_proj.weight", context.bucket, d, d_inner_, d,
                       projection_init(context.config, d_inner_));
  }

  std::vector<common::Parameter*> parameters() override {
    return {&in_, &dt_bias_, &B_bias_, &C_bias_, &B_norm_, &C_norm_, &D_, &out_};
  }
  std::string norm_name() const override { return "norm"; }
  at::Tensor forward(const at::Tensor& x) override { return mix(x, nullptr); }
  std::vector<std::string> left_to_libtorch(const at::Tensor&) override { return {"state space"}; }
  std::unique_ptr<MixerCache> make_cache() const override { return std::make_unique<StateCache>(); }
  at::Tensor extend(const at::Tensor& x, MixerCache& cache) override {
    return mix(x, &dynamic_cast<StateCache&>(cache).states);
  }

  MixerCosts costs(int64_t length) const override {
    const auto d = static_cast<double>(in_.columns), N = static_cast<double>(d_state_),
               P = static_cast<double>(head_dim_), h = static_cast<double>(num_heads_),
               inner = static_cast<double>(d_inner_), gates = static_cast<double>(num_gates()),
               T = static_cast<double>(length), Q = static_cast<double>(std::min(chunk_length_, length));
    MixerCosts sum;
    sum.flops = h * (2 * Q * N + 2 * Q * P + 4 * N * P);
    sum.usual_flops = 3 * sum.flops;
    sum.activations += product_traffic(d, static_cast<double>(num_channels()));
    sum.activations +=
        {bf16_bytes * d + fp32_bytes * gates, bf16_bytes * 2 * gates};  // a product of their own
    // Phases, decays and weights of each head: read gates, write. Backward: read gates and gradients, write
    // one.
    const double angles = static_cast<double>(num_angles_), of_heads = h * (angles + 3);
    sum.activations += {fp32_bytes * (gates + of_heads), fp32_bytes * (2 * gates + of_heads)};
    // Norms, biases and rotations read B and C and the phases and write a key and a query for each head.
    // Backward they read these gradients as well and write those of B, C and phases.
    sum.activations += {bf16_bytes * (2 * N + 2 * h * N) + fp32_bytes * h * angles,
                        bf16_bytes * (4 * N + 2 * h * N) + fp32_bytes * 2 * h * angles};
    // The scan, as Mamba-2 has it.
    const double states = fp32_bytes * inner * N / Q;
    sum.activations += {bf16_bytes * (2 * inner + 2 * h * N) + fp32_bytes * 3 * h + 2 * states,
                        bf16_bytes * (3 * inner + 4 * h * N) + fp32_bytes * 6 * h + 3 * states};
    sum.activations += {bf16_bytes * 3 * inner, bf16_bytes * 5 * inner};  // the gate
    sum.activations += product_traffic(inner, d);
    sum.cache_bytes =
        (fp32_bytes * (inner * N + h * N + inner) + fp64_bytes * h * angles) / T;  // S, k, x and phase
    return sum;
  }

  std::vector<Reading> read(const at::Tensor& x) override {
    const Gates gates = this->gates(x);
    const auto mean = [](const at::Tensor& values) {
      return values.to(at::kDouble).mean(at::IntArrayRef{0, 1}).to(at::kCPU);
    };
    return {{"half_life", -std::numbers::ln2 / mean(gates.log_decay)},
            {"time_step", mean(gates.step)},
            {"trapezoid", mean(gates.lam)},
            {"turn", mean(gates.turn.abs().mean(-1))}};
  }

 private:
  // Rows of the projection: [z x B C] and [dd_dt dd_A trap angle].
  int64_t num_channels() const { return 2 * d_inner_ + 2 * d_state_; }
  int64_t num_gates() const { return 3 * num_heads_ + num_angles_; }

  struct Gates {
    at::Tensor step, log_decay, lam;  // Delta, Delta A and lam, (B, T, h)
    at::Tensor turn;                  // by which a token turns the phases, (B, T, h, num_angles)
  };
  Gates gates(const at::Tensor& x) {  // of statistics_type: summed along the sequence
    const at::Tensor all = linear(x, in_, num_channels(), num_gates(), statistics_);
    const auto of_heads = [&](int64_t i) { return all.narrow(-1, i * num_heads_, num_heads_); };
    const at::Tensor step = at::softplus(of_heads(0) + use(dt_bias_, statistics_));
    const at::Tensor rate = has_heavy_tail_ ? heavy_tail(of_heads(1)) : at::softplus(of_heads(1));
    return {.step = step,
            .log_decay = -step * rate.clamp_min(least_decay),
            .lam = of_heads(2).sigmoid(),
            .turn = all.narrow(-1, 3 * num_heads_, num_angles_).tanh().unsqueeze(2) *
                    (M_PI * step).unsqueeze(-1)};
  }

  // B or C (B, T, N), normed, with each head's bias and turned: (B, T, h, N). The channels that turn come
  // first.
  at::Tensor state_channels(const at::Tensor& projected, common::Parameter& norm, common::Parameter& bias,
                            const at::Tensor& cosine, const at::Tensor& sine) const {
    const at::Tensor all =
        rms_norm(projected, norm, state_norm_epsilon, statistics_).unsqueeze(2) + use(bias, statistics_);
    const int64_t turning = 2 * num_angles_;
    return at::cat(
        {rotate_pairs(all.narrow(-1, 0, turning), cosine, sine), all.narrow(-1, turning, d_state_ - turning)},
        -1);
  }

  at::Tensor mix(const at::Tensor& x, SequenceStates* states) {
    const int64_t T = x.size(1);
    const at::Tensor projected = linear(x, in_, 0, num_channels(), compute_).to(statistics_);
    const at::Tensor in = projected.narrow(-1, d_inner_, d_inner_).unflatten(-1, {num_heads_, head_dim_});
    const Gates gates = this->gates(x);

    // Whole turns are taken off, so that a phase keeps its digits at any length.
    at::Tensor phase = gates.turn.to(at::kDouble).cumsum(1);
    if (states && (*states)["phase"].defined()) phase = phase + (*states)["phase"].unsqueeze(1);
    phase = phase.remainder(2 * M_PI);
    const at::Tensor cosine = phase.cos().to(statistics_), sine = phase.sin().to(statistics_);
    const at::Tensor key = state_channels(projected.narrow(-1, 2 * d_inner_, d_state_), B_norm_, B_bias_,
                                          cosine, sine),
                     query = state_channels(projected.narrow(-1, 2 * d_inner_ + d_state_, d_state_), C_norm_,
                                            C_bias_, cosine, sine);

    const at::Tensor own = gates.lam * gates.step, before = (1 - gates.lam) * gates.step;
    // What the next token adds for this one; nothing yet for the last.
    const at::Tensor from_next = at::constant_pad_nd(before.narrow(1, 1, T - 1), {0, 0, 0, 1});
    at::Tensor state = states ? (*states)["state"] : at::Tensor();
    if (state.defined())  // what the first token adds for the last one of those that came before
      state = state + before.select(1, 0).unsqueeze(-1).unsqueeze(-1) * (*states)["input"].unsqueeze(-1) *
                          (*states)["key"].unsqueeze(-2);
    const at::Tensor y = scan({.x = in,
                               .log_decay = gates.log_decay,
                               .key = key,
                               .query = query,
                               .weight = own + from_next,
                               .own = own,
                               .chunk_length = chunk_length_},
                              states ? &state : nullptr);
    if (states) {
      const auto last = [&](const at::Tensor& all) { return all.select(1, T - 1).clone(); };
      (*states)["phase"] = last(phase);
      (*states)["state"] = state;
      (*states)["input"] = last(in);
      (*states)["key"] = last(key);
    }
    const at::Tensor gated = (y + use(D_, statistics_).unsqueeze(-1) * in).flatten(2) *
                             at::silu(projected.narrow(-1, 0, d_inner_));
    return linear(gated.to(x.scalar_type()), out_);
  }

  at::ScalarType compute_, statistics_;
  int64_t d_inner_, d_state_, head_dim_, num_heads_, num_angles_, chunk_length_;
  bool has_heavy_tail_;
  common::Parameter in_;               // (channels and gates, d_model)
  common::Parameter dt_bias_, D_;      // (h)
  common::Parameter B_bias_, C_bias_;  // (h, d_state)
  common::Parameter B_norm_, C_norm_;  // (d_state)
  common::Parameter out_;              // (d_model, d_inner)
};

void validate_mamba3(const ModelConfig& c) {
  validate_state_space(c);
  if (c.whole("d_state") < 4)
    throw ConfigError({"d_state"},
                      fmt::format("model.d_state is {}; it must be at least 4, since half of the state's "
                                  "channels turn in pairs.",
                                  c.whole("d_state")));
}

}  // namespace

System mamba3_system() {
  return {
      .name = "mamba3",
      .doc = "a state space with a trapezoidal rule and rotations that depend on the tokens; no SwiGLU",
      .keys = {d_inner_key(),
               d_state_key(64),
               head_dim_key(),
               chunk_length_key(),
               projection_init_key("uniform"),
               {.name = "decay_activation",
                .type = Key::Type::choice,
                .default_value = std::string("heavy_tail"),
                .choices = {"heavy_tail", "softplus"},
                .doc =
                    "what a decay rate is made by; heavy_tail: 1 + a, below 0 1 / (1 - a), as upstream has "
                    "it now; softplus: as it was when the paper appeared"}},
      .readings = "half-life of states, mean time step, trapezoid (lam) and turn",
      .has_feed_forward = false,
      .complete = [](ModelConfig& config) { complete_d_inner(config, 2, 1); },
      .validate = validate_mamba3,
      .make_mixer = make_mixer<Mamba3>};
}

}  // namespace sisa::model
