#include "model/mixers/mamba2.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/mixers/state_space_keys.h"
#include "model/operations/functional.h"
#include "model/operations/state_space.h"
#include "model/parameters.h"

namespace sisa::model {
namespace {

constexpr int64_t convolution_width = 4;
constexpr double output_norm_epsilon = 1e-5;

common::Parameter make_convolution(const std::string& name, const std::string& bucket, int64_t channels,
                                   const common::Distribution& initial) {
  common::Parameter p{.name = name,
                      .bucket = bucket,
                      .traits = {.kind = common::ParameterKind::vector},
                      .rows = channels,
                      .columns = convolution_width};
  p.blocks = {{name, {channels, 1, convolution_width}, 0, initial}};
  return p;
}

}  // namespace

Mamba2Core::Mamba2Core(const LayerContext& context, const std::string& prefix)
    : compute_(context.compute()),
      statistics_(context.statistics()),
      d_inner_(context.config.whole("d_inner")),
      d_state_(context.config.whole("d_state")),
      head_dim_(context.config.whole("head_dim")),
      num_heads_(d_inner_ / head_dim_),
      chunk_length_(context.config.whole("chunk_length")) {
  const int64_t channels = d_inner_ + 2 * d_state_;
  const double bound = 1 / std::sqrt(static_cast<double>(convolution_width));
  const auto vector = [&](const char* name, int64_t size, const common::Distribution& initial) {
    return make_vector(prefix + name, context.bucket, size, initial);
  };
  convolution_ =
      make_convolution(prefix + "conv1d.weight", context.bucket, channels, common::uniform(-bound, bound));
  convolution_bias_ = vector("conv1d.bias", channels, common::uniform(-bound, bound));
  dt_bias_ = vector("dt_bias", num_heads_, time_step_bias());
  A_log_ = vector("A_log", num_heads_, [](double u, double) { return std::log(1 + 15 * u); });  // A: U[1, 16]
  D_ = vector("D", num_heads_, common::constant(1));
}

at::Tensor Mamba2Core::time_steps(const at::Tensor& x, common::Parameter& projections, int64_t first_row) {
  const at::Tensor dt =
      linear(x, projections, first_row + 2 * d_inner_ + 2 * d_state_, num_heads_, statistics_);
  return at::softplus(dt + use(dt_bias_, statistics_));
}

at::Tensor Mamba2Core::operator()(const at::Tensor& x, common::Parameter& projections, int64_t first_row,
                                  SequenceStates* states) {
  const int64_t channels = d_inner_ + 2 * d_state_;
  const at::Tensor projected =
      linear(x, projections, first_row, d_inner_ + channels, compute_).to(statistics_);
  const at::Tensor xBC = at::silu(
      causal_convolution(projected.narrow(-1, d_inner_, channels), use(convolution_, statistics_),
                         use(convolution_bias_, statistics_), states ? &(*states)["convolution"] : nullptr));
  const at::Tensor in = xBC.narrow(-1, 0, d_inner_).unflatten(-1, {num_heads_, head_dim_});
  const auto shared = [&](int64_t first) { return xBC.narrow(-1, first, d_state_).unsqueeze(2); };
  const at::Tensor steps = time_steps(x, projections, first_row);
  const at::Tensor y = scan({.x = in,
                             .log_decay = -steps * use(A_log_, statistics_).exp(),
                             .key = shared(d_inner_),
                             .query = shared(d_inner_ + d_state_),
                             .weight = steps,
                             .chunk_length = chunk_length_},
                            states ? &(*states)["state"] : nullptr);
  return (y + use(D_, statistics_).unsqueeze(-1) * in).flatten(2) *
         at::silu(projected.narrow(-1, 0, d_inner_));
}

std::vector<Reading> Mamba2Core::read(const at::Tensor& x, common::Parameter& projections,
                                      int64_t first_row) {
  const auto mean = [](const at::Tensor& values) {
    return values.to(at::kDouble).mean(at::IntArrayRef{0, 1}).to(at::kCPU);
  };
  const at::Tensor steps = time_steps(x, projections, first_row);
  return {{"half_life", std::numbers::ln2 / mean(steps * use(A_log_, statistics_).exp())},
          {"time_step", mean(steps)}};
}

MixerCosts Mamba2Core::costs(int64_t length) const {
  const auto N = static_cast<double>(d_state_), P = static_cast<double>(head_dim_),
             h = static_cast<double>(num_heads_), inner = static_cast<double>(d_inner_),
             channels = inner + 2 * N, T = static_cast<double>(length),
             Q = static_cast<double>(std::min(chunk_length_, length));
  MixerCosts sum;
  sum.flops = 2 * convolution_width * channels + 2 * Q * N + h * (2 * Q * P + 4 * N * P);
  sum.usual_flops = 3 * sum.flops;
  // The convolution reads and writes its channels. Backward it reads them and the gradient and writes one.
  sum.activations += {bf16_bytes * 2 * channels, bf16_bytes * 3 * channels};
  // The scan reads the channels and time steps, writes y and, for each chunk, a state, which is read again.
  // Backward it reads channels, time steps, states and the gradient, writes the gradients of all of them, and
  // reads those of the states.
  const double states = fp32_bytes * inner * N / Q;
  sum.activations += {bf16_bytes * (channels + inner) + fp32_bytes * h + 2 * states,
                      bf16_bytes * (2 * channels + inner) + fp32_bytes * 2 * h + 3 * states};
  // The gate reads y and z and writes their product. Backward it reads both and the gradient and writes two.
  sum.activations += {bf16_bytes * 3 * inner, bf16_bytes * 5 * inner};
  sum.cache_bytes = (bf16_bytes * (convolution_width - 1) * channels + fp32_bytes * inner * N) / T;
  return sum;
}

Mamba2::Mamba2(const LayerContext& context, const std::string& prefix)
    : statistics_(context.statistics()), core_(context, prefix) {
  const int64_t d = context.config.d_model, inner = core_.d_inner();
  in_ = make_matrix(prefix + "in_proj.weight", context.bucket, core_.projected(), d,
                    context.padded(core_.projected()), projection_init(context.config, d));
  norm_ = make_norm(prefix + "norm.weight", context.bucket, inner);
  out_ = make_matrix(prefix + "out_proj.weight", context.bucket, d, inner, d,
                     projection_init(context.config, inner));
}

std::vector<common::Parameter*> Mamba2::parameters() {
  std::vector<common::Parameter*> all = core_.parameters();
  all.insert(all.begin(), &in_);
  all.insert(all.end(), {&norm_, &out_});
  return all;
}

at::Tensor Mamba2::mix(const at::Tensor& x, SequenceStates* states) {
  const at::Tensor y = core_(x, in_, 0, states);
  return linear(rms_norm(y, norm_, output_norm_epsilon, statistics_).to(x.scalar_type()), out_);
}

MixerCosts Mamba2::costs(int64_t length) const {
  const auto d = static_cast<double>(in_.columns), inner = static_cast<double>(core_.d_inner());
  MixerCosts sum = core_.costs(length);
  sum.activations += product_traffic(d, static_cast<double>(core_.projected()));
  // The norm is part of the gate's pass.
  sum.activations += product_traffic(inner, d);
  return sum;
}

std::vector<Key> mamba2_keys(const std::string& projection_init) {
  return {d_inner_key(), d_state_key(64), head_dim_key(), chunk_length_key(),
          projection_init_key(projection_init)};
}

System mamba2_system() {
  return {.name = "mamba2",
          .doc = "a state space with decays that depend on the tokens, in heads; no SwiGLU",
          .keys = mamba2_keys("uniform"),
          .readings = mamba2_readings,
          .has_feed_forward = false,
          .complete = [](ModelConfig& config) { complete_d_inner(config, 2, 1); },
          .validate = validate_state_space,
          .make_mixer = make_mixer<Mamba2>};
}

}  // namespace sisa::model
