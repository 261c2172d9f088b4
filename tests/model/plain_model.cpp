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

at::Tensor rotate(const at::Tensor& z, const at::Tensor& angles) {
  const at::Tensor a = z.slice(-1, 0, {}, 2), b = z.slice(-1, 1, {}, 2), c = angles.cos(), s = angles.sin();
  return at::stack({a * c - b * s, a * s + b * c}, -1).flatten(-2);
}

at::Tensor future(const at::Tensor& x) {
  return at::ones({x.size(1), x.size(1)}, x.options().dtype(at::kBool).requires_grad(false)).triu(1);
}

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

at::Tensor PlainModel::norm(const at::Tensor& x, const std::string& weight, double epsilon) const {
  const at::Tensor w = wide(x);
  return (w * at::rsqrt(w.square().mean(-1, /*keepdim=*/true) + epsilon)).to(type_) *
         parameter(weight).view({-1, x.size(-1)}).squeeze(0);
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

at::Tensor PlainModel::sisa(const at::Tensor& x, const std::string& prefix) const {
  const int64_t d_head = config_.d_model / config_.whole("num_heads");
  const auto width = static_cast<double>(d_head);
  const auto project = [&](const char* name) { return split_heads(linear(x, prefix + name)); };
  at::Tensor query = with_positions(project("W_Q.weight"), config_.real("rope_base")),
             key = with_positions(project("W_K.weight"), config_.real("rope_base")), bias;
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
    // Scores are divided by the root of the content's width alone.
    query = query * std::sqrt(static_cast<double>(query.size(-1)) / width);
  } else if (config_.system == "sisa") {
    bias = direct_scores(state(x, prefix));
  }
  return linear(attention(query, key, project("W_V.weight"), bias), prefix + "W_O.weight");
}

at::Tensor PlainModel::with_positions(const at::Tensor& heads, double base) const {
  const int64_t T = heads.size(1), width = heads.size(-1);
  const at::TensorOptions fp64 = heads.options().dtype(at::kDouble).requires_grad(false);
  const at::Tensor angles = at::arange(T, fp64).view({T, 1, 1}) *
                            at::pow(base, -at::arange(0, width, 2, fp64) / static_cast<double>(width));
  return rotate(heads, wide(angles)).to(type_);
}

at::Tensor PlainModel::attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                 const at::Tensor& bias, const at::Tensor& hidden) const {
  const int64_t shared_by = query.size(2) / key.size(2);
  at::Tensor scores =
      at::einsum("bihn,bjhn->bhij", {query, key.repeat_interleave(shared_by, 2)}) / std::sqrt(query.size(-1));
  if (bias.defined()) scores = scores + bias;
  at::Tensor unseen = future(query);
  if (hidden.defined()) unseen = unseen.logical_or(hidden);
  const at::Tensor weights =
      wide(scores).masked_fill(unseen, -std::numeric_limits<double>::infinity()).softmax(-1).to(type_);
  return at::einsum("bhij,bjhn->bihn", {weights, value.repeat_interleave(shared_by, 2)}).flatten(2);
}

PlainModel::Result PlainModel::operator()(const at::Tensor& tokens, const at::Tensor& targets) const {
  Result result;
  at::Tensor x = at::embedding(parameters_.at("embed.weight"), tokens);
  int64_t num_before = 0;  // learned vectors before the tokens
  if (parameters_.contains("meta_tokens")) {
    const at::Tensor& before = parameter("meta_tokens");
    num_before = before.size(0);
    x = at::cat({before.expand({x.size(0), -1, -1}), x}, 1);
  }
  const auto of_tokens = [&](const at::Tensor& all) { return all.narrow(1, num_before, tokens.size(1)); };
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    const std::string norm_name = parameters_.contains(prefix + "attn_norm.weight") ? "attn_norm" : "norm";
    x = x + mixer(norm(x, prefix + norm_name + ".weight"), i, prefix);
    if (config_.d_ff > 0) {
      const at::Tensor n = norm(x, prefix + "ffn_norm.weight");
      const at::Tensor gate = at::silu(linear(n, prefix + "ffn.w_gate.weight"));
      x = x + linear(gate * linear(n, prefix + "ffn.w_up.weight"), prefix + "ffn.w_down.weight");
    }
    result.hidden.push_back(of_tokens(x));
  }
  result.logits = linear(norm(of_tokens(x), "final_norm.weight"), "embed.weight");
  result.loss = at::cross_entropy_loss(wide(result.logits).flatten(0, 1), targets.flatten());
  return result;
}

}  // namespace sisa::tests
