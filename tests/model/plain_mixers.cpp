// PlainModel's mixers beside sisa's.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <stdexcept>

#include "tests/model/plain_model.h"

namespace sisa::tests {
namespace {

// The value of the token before; 0 before the first. y (B, T, …).
at::Tensor before(const at::Tensor& y) {
  return at::cat({at::zeros_like(y.narrow(1, 0, 1)), y.narrow(1, 0, y.size(1) - 1)}, 1);
}

}  // namespace

at::Tensor PlainModel::mixer(const at::Tensor& x, int64_t layer, const std::string& prefix) const {
  const std::string& system = config_.system;
  if (system == "sisa" || system == "transformer") return sisa(x, prefix);
  if (system == "fox" || system == "fox_pro") return fox(x, prefix);
  if (system == "mamba2") return mamba2(x, prefix + "mamba.");
  if (system == "mamba3") return mamba3(x, prefix + "mamba.");
  if (system == "jamba")
    return config_.lists("attention_layers", layer) ? grouped_query(x, prefix + "attention.", 0)
                                                    : mamba2(x, prefix + "mamba.");
  if (system == "falcon_h1")
    return grouped_query(x, prefix + "attention.", config_.real("rope_base")) + mamba2(x, prefix + "mamba.");
  if (system == "hymba") return hymba(x, prefix, config_.lists("full_attention_layers", layer));
  throw std::runtime_error("PlainModel has no mixer for the system " + system);
}

at::Tensor PlainModel::fox(const at::Tensor& x, const std::string& prefix) const {
  const auto project = [&](const char* name) { return split_heads(linear(x, prefix + name)); };
  const bool pro = config_.system == "fox_pro";
  at::Tensor query = project("W_Q.weight"), key = project("W_K.weight"), value = project("W_V.weight");
  if (pro) {
    const auto shifted = [&](const at::Tensor& y, const char* gate) {
      const at::Tensor beta = linear(x, prefix + gate).sigmoid().unsqueeze(-1);
      return beta * before(y) + (1 - beta) * y;
    };
    key = norm(shifted(key, "k_shift.weight"), prefix + "k_norm.weight", 1e-5);
    value = shifted(value, "v_shift.weight");
    query = norm(query, prefix + "q_norm.weight", 1e-5);
  }
  const at::Tensor gates =
      at::linear(x, parameter(prefix + "forget_proj.weight"), parameter(prefix + "forget_proj.bias"));
  const at::Tensor sums = at::log_sigmoid(wide(gates)).cumsum(1).transpose(1, 2);  // (B, H, T)
  at::Tensor mixed = attention(query, key, value, sums.unsqueeze(-1) - sums.unsqueeze(-2));
  if (pro)
    mixed =
        (norm(split_heads(mixed), prefix + "output_norm.weight") * project("output_gate.weight").sigmoid())
            .flatten(2);
  return linear(mixed, prefix + "W_O.weight");
}

at::Tensor PlainModel::mamba2_core(const at::Tensor& zxBCdt, const std::string& prefix) const {
  const int64_t inner = config_.whole("d_inner"), N = config_.whole("d_state"),
                h = inner / config_.whole("head_dim"), T = zxBCdt.size(1), channels = inner + 2 * N;
  const at::Tensor& taps = parameter(prefix + "conv1d.weight");  // (channels, 1, width)
  const int64_t width = taps.size(-1);
  const at::Tensor padded = at::constant_pad_nd(zxBCdt.narrow(-1, inner, channels), {0, 0, width - 1, 0});
  at::Tensor sum = parameter(prefix + "conv1d.bias");
  for (int64_t i = 0; i < width; ++i) sum = sum + padded.narrow(1, i, T) * taps.select(-1, i).squeeze(-1);
  const at::Tensor xBC = wide(at::silu(sum)), u = split_heads(xBC.narrow(-1, 0, inner), h),
                   B = xBC.narrow(-1, inner, N), C = xBC.narrow(-1, inner + N, N);
  const at::Tensor step = at::softplus(wide(zxBCdt.narrow(-1, inner + channels, h)) +
                                       parameter(prefix + "dt_bias")),
                   rate = wide(parameter(prefix + "A_log")).exp();
  at::Tensor S = at::zeros({u.size(0), h, u.size(-1), N}, u.options().requires_grad(false));
  std::vector<at::Tensor> outputs;
  for (int64_t t = 0; t < T; ++t) {
    const auto at_t = [&](const at::Tensor& all) { return all.select(1, t); };
    const at::Tensor input = at_t(step).unsqueeze(-1) * at_t(u);  // (B, h, P)
    S = S * (-at_t(step) * rate).exp().unsqueeze(-1).unsqueeze(-1) +
        input.unsqueeze(-1) * at_t(B).unsqueeze(1).unsqueeze(1);
    outputs.push_back((S * at_t(C).unsqueeze(1).unsqueeze(1)).sum(-1) +
                      parameter(prefix + "D").unsqueeze(-1) * at_t(u));
  }
  return (at::stack(outputs, 1).flatten(2) * at::silu(wide(zxBCdt.narrow(-1, 0, inner)))).to(type_);
}

at::Tensor PlainModel::mamba2(const at::Tensor& x, const std::string& prefix) const {
  const at::Tensor y = mamba2_core(linear(x, prefix + "in_proj.weight"), prefix);
  return linear(norm(y, prefix + "norm.weight", 1e-5), prefix + "out_proj.weight");
}

at::Tensor PlainModel::mamba3(const at::Tensor& x, const std::string& prefix) const {
  const int64_t inner = config_.whole("d_inner"), N = config_.whole("d_state"),
                h = inner / config_.whole("head_dim"), angles = N / 4, T = x.size(1);
  const std::vector<at::Tensor> parts =
      linear(x, prefix + "in_proj.weight").split_with_sizes({inner, inner, N, N, h, h, h, angles}, -1);
  const at::Tensor u = wide(split_heads(parts[1], h)), rate_gate = wide(parts[5]);
  const at::Tensor step = at::softplus(wide(parts[4]) + parameter(prefix + "dt_bias")),
                   lam = wide(parts[6]).sigmoid();
  const at::Tensor rate = (config_.choice("decay_activation") == "softplus"
                               ? at::softplus(rate_gate)
                               : at::where(rate_gate.ge(0), 1 + rate_gate, 1 / (1 - rate_gate.clamp_max(0))))
                              .clamp_min(1e-4);
  const at::Tensor phase = (wide(parts[7]).tanh().unsqueeze(2) * step.unsqueeze(-1) * M_PI).cumsum(1);
  const auto of_state = [&](const at::Tensor& projected, const std::string& name) {
    const at::Tensor all = norm(projected, prefix + name + "_norm.weight", 1e-5).unsqueeze(2) +
                           parameter(prefix + name + "_bias").squeeze(1);
    return wide(at::cat(
        {rotate(all.narrow(-1, 0, 2 * angles), phase).to(type_), all.narrow(-1, 2 * angles, N - 2 * angles)},
        -1));
  };
  const at::Tensor k = of_state(parts[2], "B"), q = of_state(parts[3], "C");
  at::Tensor S = at::zeros({u.size(0), h, u.size(-1), N}, u.options().requires_grad(false));
  std::vector<at::Tensor> outputs;
  const auto outer = [&](int64_t t, const at::Tensor& weight) {
    return (weight.unsqueeze(-1) * u.select(1, t)).unsqueeze(-1) * k.select(1, t).unsqueeze(2);
  };
  for (int64_t t = 0; t < T; ++t) {
    const at::Tensor l = lam.select(1, t), delta = step.select(1, t),
                     alpha = (-delta * rate.select(1, t)).exp();
    S = S * alpha.unsqueeze(-1).unsqueeze(-1) + outer(t, l * delta);
    if (t > 0) S = S + outer(t - 1, (1 - l) * delta * alpha);
    outputs.push_back((S * q.select(1, t).unsqueeze(2)).sum(-1) +
                      parameter(prefix + "D").unsqueeze(-1) * u.select(1, t));
  }
  return linear((at::stack(outputs, 1).flatten(2) * at::silu(wide(parts[0]))).to(type_),
                prefix + "out_proj.weight");
}

at::Tensor PlainModel::grouped_query(const at::Tensor& x, const std::string& prefix, double rope_base) const {
  const auto project = [&](const char* name, const char* heads) {
    return split_heads(linear(x, prefix + name), config_.whole(heads));
  };
  at::Tensor query = project("W_Q.weight", "num_heads"), key = project("W_K.weight", "num_kv_heads");
  if (rope_base > 0) {
    query = with_positions(query, rope_base);
    key = with_positions(key, rope_base);
  }
  return linear(attention(query, key, project("W_V.weight", "num_kv_heads")), prefix + "W_O.weight");
}

at::Tensor PlainModel::hymba(const at::Tensor& x, const std::string& prefix, bool full) const {
  const int64_t d = config_.d_model, H = config_.whole("num_heads"), G = config_.whole("num_kv_heads"),
                inner = config_.whole("d_inner"), N = config_.whole("d_state"),
                h = inner / config_.whole("head_dim"), T = x.size(1);
  const std::vector<at::Tensor> parts =
      linear(x, prefix + "in_proj.weight")
          .split_with_sizes({d, d * G / H, inner * G / H, 2 * inner + 2 * N + h}, -1);
  at::Tensor hidden;
  if (!full) {
    const at::Tensor j = at::arange(T, x.options().dtype(at::kLong).requires_grad(false)), i = j.unsqueeze(1);
    hidden = (i - j).ge(config_.whole("window")).logical_and(j.ge(config_.whole("num_meta_tokens")));
  }
  const double base = config_.real("rope_base");
  const at::Tensor attended =
      attention(with_positions(split_heads(parts[0], H), base),
                with_positions(split_heads(parts[1], G), base), split_heads(parts[2], G), {}, hidden);
  const at::Tensor both = norm(attended, prefix + "attention_norm.weight") +
                          norm(mamba2_core(parts[3], prefix), prefix + "mamba_norm.weight");
  return linear(both / 2, prefix + "out_proj.weight");
}

}  // namespace sisa::tests
