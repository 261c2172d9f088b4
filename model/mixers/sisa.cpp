#include "model/mixers/sisa.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/softplus.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "common/text.h"
#include "model/functional.h"
#include "model/mixers/transformer.h"

namespace sisa::model {
namespace {

// Below this lambda the state channels weigh nothing, and the gradient of sqrt(lambda) would grow without
// bound (spec 1.4).
constexpr double smallest_lambda = 1e-12;
constexpr double initial_lambda_raw = -1;

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

 protected:
  // Cbar_t = s R(Phi_t) e^{u_t} C_t for the query, Bbar_t = s R(Phi_t) e^{-u_t} B_t for the key: their
  // product, scaled by 1/sqrt(d_head), is lambda e^{g_i - g_j} C_i^T R(Phi_j - Phi_i) B_j.
  Augmentation augment(const at::Tensor& x) override {
    const ModelConfig& c = context_.config;
    const int64_t width = c.num_heads * c.d_state;
    const at::Tensor state =
        linear(x, projections_, state_row_, 2 * width, x.scalar_type()).to(context_.statistics());
    at::Tensor B = split_heads(state.narrow(-1, 0, width)),
               C = split_heads(state.narrow(-1, width, width));  // (B, T, H, d_state)
    const int64_t num_angles = rotates() ? width / 2 : 0,
                  num_gates = num_angles + (decays() ? c.num_heads : 0);
    at::Tensor gates;  // (B, T, angles | alphas), cumulated below, hence never rounded to bf16
    if (num_gates > 0) gates = linear(x, projections_, gates_row_, num_gates, context_.statistics());
    if (decays()) {
      const at::Tensor alpha =
          gates.narrow(-1, num_angles, c.num_heads) + use(alpha_bias_, context_.statistics());
      const at::Tensor u = exponent(-at::softplus(alpha).cumsum(1)).unsqueeze(-1);  // (B, T, H, 1)
      C = C * u.exp();
      B = B * u.neg().exp();
    }
    if (rotates()) {
      const at::Tensor phase =
          split_heads(gates.narrow(-1, 0, num_angles)).cumsum(1);  // (B, T, H, d_state / 2)
      const at::Tensor cosine = phase.cos(), sine = phase.sin();
      C = rotate_pairs(C, cosine, sine);
      B = rotate_pairs(B, cosine, sine);
    }
    const at::Tensor s = scale().unsqueeze(-1);  // (H, 1)
    return {C * s, B * s};
  }

 private:
  bool decays() const { return context_.config.decay == "learned"; }
  bool rotates() const { return context_.config.rotation == "learned"; }

  // u_t of g_t (B, T, H). causal: a constant offset, so that no token depends on a later one, exact while the
  // total decay is at most 2 c0 (spec 1.5 a). minimax: as published, the offset halfway between the
  // sequence's extremes. The offset is not differentiated.
  at::Tensor exponent(const at::Tensor& g) const {
    const ModelConfig& c = context_.config;
    if (c.offset == "causal") return (g + c.causal_offset).clamp(-c.causal_offset, c.causal_offset);
    const at::Tensor fixed = g.detach();
    const at::Tensor offset = (fixed.amax(1, /*keepdim=*/true) + fixed.amin(1, /*keepdim=*/true)) / 2;
    return (g - offset).clamp(-c.clamp, c.clamp);
  }

  // s_h = d_head^{1/4} sqrt(lambda_h), (H) or (1).
  at::Tensor scale() {
    const at::Tensor raw =
        lambda_raw_.rows > 0
            ? use(lambda_raw_, context_.statistics())
            : at::full({1}, initial_lambda_raw,
                       projections_.value.options().dtype(context_.statistics()).requires_grad(false));
    return at::softplus(raw).clamp_min(smallest_lambda).sqrt() *
           std::pow(static_cast<double>(context_.config.d_head()), 0.25);
  }

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
  if (!(c.causal_offset > 0) || c.causal_offset > 80)
    throw Error(
        "model.causal_offset is {}; it must be above 0 and at most 80, beyond which the scores overflow.",
        c.causal_offset);
}

std::unique_ptr<Mixer> make_sisa(const LayerContext& context) {
  return std::make_unique<Sisa>(context);
}

}  // namespace sisa::model
