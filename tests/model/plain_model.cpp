#include "tests/model/plain_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <limits>

#include "model/mixers/registry.h"

namespace sisa::tests {
namespace {

// Interleaved pairs of z (…, n) by angles (…, n / 2).
at::Tensor rotate(const at::Tensor& z, const at::Tensor& angles) {
  const at::Tensor a = z.slice(-1, 0, {}, 2), b = z.slice(-1, 1, {}, 2), c = angles.cos(), s = angles.sin();
  return at::stack({a * c - b * s, a * s + b * c}, -1).flatten(-2);
}

// True where j > i, for tokens like those of x (B, T, …).
at::Tensor future(const at::Tensor& x) {
  return at::ones({x.size(1), x.size(1)}, x.options().dtype(at::kBool)).triu(1);
}

}  // namespace

PlainModel::PlainModel(const model::ModelConfig& config, const std::map<std::string, at::Tensor>& parameters,
                       at::ScalarType type, ScoreForm form)
    : config_(model::completed(config)), type_(type), form_(form) {
  for (const auto& [name, value] : parameters) {
    const bool stays_wide = name.ends_with("lambda_raw");
    parameters_[name] =
        (stays_wide ? wide(value.to(type == at::kDouble ? type : at::kFloat)) : value.to(type))
            .clone()
            .set_requires_grad(true);
  }
}

at::Tensor PlainModel::wide(const at::Tensor& x) const {
  return x.to(type_ == at::kDouble ? at::kDouble : at::kFloat);
}

at::Tensor PlainModel::norm(const at::Tensor& x, const std::string& weight) const {
  const at::Tensor w = wide(x);
  return (w * at::rsqrt(w.square().mean(-1, /*keepdim=*/true) + 1e-6)).to(type_) * parameters_.at(weight);
}

at::Tensor PlainModel::linear(const at::Tensor& x, const std::string& weight) const {
  return at::linear(x, parameters_.at(weight));
}

PlainModel::State PlainModel::state(const at::Tensor& x, const std::string& prefix) const {
  const at::Tensor alpha =
      at::linear(x, parameters_.at(prefix + "alpha_proj.weight"), parameters_.at(prefix + "alpha_proj.bias"));
  at::Tensor g = -at::softplus(wide(alpha)).cumsum(1);
  if (config_.choice("offset") == "minimax") {
    const at::Tensor fixed = g.detach();
    g = (g - (fixed.amax(1, true) + fixed.amin(1, true)) / 2)
            .clamp(-config_.real("clamp"), config_.real("clamp"));
  }
  return {.B = split_heads(linear(x, prefix + "W_B.weight")),
          .C = split_heads(linear(x, prefix + "W_C.weight")),
          .g = g,
          .phase = split_heads(wide(linear(x, prefix + "theta_proj.weight")).cumsum(1)),
          .lambda = at::softplus(parameters_.at(prefix + "lambda_raw"))};
}

// lambda e^(g_i - g_j) C_i^T R(Phi_j - Phi_i) B_j, (B, H, T, T), from (B, i, j, H, ·).
at::Tensor PlainModel::direct_scores(const State& s) const {
  const auto differences = [](const at::Tensor& at_i, const at::Tensor& at_j) {
    return at_i.unsqueeze(2) - at_j.unsqueeze(1);
  };
  const at::Tensor decays = differences(s.g, s.g).permute({0, 3, 1, 2}).masked_fill(future(s.g), 0).exp();
  const at::Tensor turned = rotate(s.B.unsqueeze(1), -differences(s.phase, s.phase)).to(type_);
  return at::einsum("bihn,bijhn->bhij", {s.C, turned}) * decays * s.lambda.view({1, -1, 1, 1});
}

at::Tensor PlainModel::mixer(const at::Tensor& x, const std::string& prefix) const {
  const int64_t T = x.size(1), d_head = config_.d_model / config_.whole("num_heads");
  const auto width = static_cast<double>(d_head);
  const at::TensorOptions fp64 = x.options().dtype(at::kDouble);
  const at::Tensor angles = at::arange(T, fp64).view({T, 1, 1}) *
                            at::pow(config_.real("rope_base"), -at::arange(0, d_head, 2, fp64) / width);
  const auto project = [&](const char* name) { return split_heads(linear(x, prefix + name)); };
  at::Tensor query = rotate(project("W_Q.weight"), wide(angles)).to(type_),
             key = rotate(project("W_K.weight"), wide(angles)).to(type_), scores;
  if (config_.system == "sisa" && form_ == ScoreForm::augmented) {
    const State s = state(x, prefix);
    // Halfway between the extremes, where no exponent overflows.
    const at::Tensor u = (s.g - (s.g.amax(1, true) + s.g.amin(1, true)).detach() / 2).unsqueeze(-1);
    const at::Tensor size = (s.lambda.sqrt() * std::pow(width, 0.25)).unsqueeze(-1);
    const auto widen = [&](const at::Tensor& heads, const at::Tensor& channels, const at::Tensor& exponent) {
      return at::cat({heads, (rotate(channels, s.phase) * exponent.exp() * size).to(type_)}, -1);
    };
    query = widen(query, s.C, u);
    key = widen(key, s.B, -u);
    if (type_ == at::kBFloat16) {  // the stock kernels want value as wide as query
      const at::Tensor value =
          at::constant_pad_nd(project("W_V.weight"), {0, query.size(-1) - d_head}).transpose(1, 2);
      const at::Tensor mixed =
          at::scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value, {}, 0.0,
                                           /*is_causal=*/true, 1 / std::sqrt(width));
      return linear(mixed.transpose(1, 2).narrow(-1, 0, d_head).flatten(2), prefix + "W_O.weight");
    }
    scores = at::einsum("bihn,bjhn->bhij", {query, key}) / std::sqrt(width);
  } else {
    scores = at::einsum("bihn,bjhn->bhij", {query, key}) / std::sqrt(width);
    if (config_.system == "sisa") scores = scores + direct_scores(state(x, prefix));
  }
  const at::Tensor weights =
      wide(scores).masked_fill(future(x), -std::numeric_limits<double>::infinity()).softmax(-1).to(type_);
  const at::Tensor mixed = at::einsum("bhij,bjhn->bihn", {weights, project("W_V.weight")});
  return linear(mixed.flatten(2), prefix + "W_O.weight");
}

PlainModel::Result PlainModel::operator()(const at::Tensor& tokens, const at::Tensor& targets) const {
  Result result;
  at::Tensor x = at::embedding(parameters_.at("embed.weight"), tokens);
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    x = x + mixer(norm(x, prefix + "attn_norm.weight"), prefix);
    if (config_.d_ff > 0) {
      const at::Tensor n = norm(x, prefix + "ffn_norm.weight");
      const at::Tensor gate = at::silu(linear(n, prefix + "ffn.w_gate.weight"));
      x = x + linear(gate * linear(n, prefix + "ffn.w_up.weight"), prefix + "ffn.w_down.weight");
    }
    result.hidden.push_back(x);
  }
  result.logits = linear(norm(x, "final_norm.weight"), "embed.weight");
  result.loss = at::cross_entropy_loss(wide(result.logits).flatten(0, 1), targets.flatten());
  return result;
}

}  // namespace sisa::tests
