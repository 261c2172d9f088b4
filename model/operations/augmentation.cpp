#include "model/operations/augmentation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

#include "model/kernels/kernels.h"
#include "model/operations/functional.h"

namespace sisa::model {

Exponents decay_exponents(const at::Tensor& log_alpha, const DecayOffset& offset, int64_t max_segments) {
  const at::Tensor g = log_alpha.to(at::kDouble).cumsum(1), fixed = g.detach();
  Exponents result;
  at::Tensor u;
  const double limit = offset.limit;
  if (offset.kind == DecayOffset::Kind::causal) {
    result.width = 2 * limit;
    u = g + limit;
    if (max_segments > 1) {
      const double decay = -fixed.min().item<double>();
      result.num_segments =
          std::clamp<int64_t>(static_cast<int64_t>(std::ceil(decay / result.width)), 1, max_segments);
    }
    if (result.num_segments > 1) {
      result.segment =
          (fixed / -result.width).floor().clamp_max(static_cast<double>(result.num_segments - 1));
      u = u + result.segment * result.width;
    }
  } else {
    u = g - (fixed.amax(1, /*keepdim=*/true) + fixed.amin(1, /*keepdim=*/true)) / 2;
  }
  result.values = u.clamp(-limit, limit);
  // Rounding may put u at the edge of a segment a little beyond it.
  result.num_limited = u.detach().abs().gt(limit * (1 + 1e-9)).sum(at::IntArrayRef{0, 1});
  return result;
}

at::Tensor num_limited_in_blocks(const at::Tensor& log_alpha) {
  constexpr double step = kernels::exponent_step;
  const at::Tensor g = log_alpha.detach().to(at::kDouble).cumsum(1);
  const at::Tensor block =
      at::arange(g.size(1), g.options().dtype(at::kLong)).div(kernels::exponent_block, "floor");
  const at::Tensor first = g.index_select(1, block * kernels::exponent_block);
  const at::Tensor u = g + step * ((first / -step).floor() + 1);
  return u.abs().gt(step * (1 + 1e-9)).sum(at::IntArrayRef{0, 1});
}

Augmentation augment(const at::Tensor& C, const at::Tensor& B, const Exponents& exponents,
                     const at::Tensor& phase, const at::Tensor& lambda, int64_t d_head) {
  const at::ScalarType type = C.scalar_type();
  const at::Tensor s =
      (lambda.to(type).sqrt() * std::pow(static_cast<double>(d_head), 0.25)).unsqueeze(-1);  // (H, 1)
  at::Tensor query = C * s, key = B * s;
  if (phase.defined()) {
    const at::Tensor cosine = phase.cos().to(type), sine = phase.sin().to(type);
    query = rotate_pairs(query, cosine, sine);
    key = rotate_pairs(key, cosine, sine);
  }
  const at::Tensor& u = exponents.values;
  if (!u.defined()) return {query, key};
  const auto times = [&](const at::Tensor& channels, const at::Tensor& factors) {  // factors (B, T, H)
    return channels * factors.to(type).unsqueeze(-1);
  };
  const at::Tensor query_factors = u.exp();
  if (exponents.num_segments == 1) return {times(query, query_factors), times(key, u.neg().exp())};
  std::vector<at::Tensor> queries, keys;
  for (int64_t k = 0; k < exponents.num_segments; ++k) {
    const at::Tensor later = static_cast<double>(k) - exponents.segment;  // by how many segments k is later
    queries.push_back(times(query, query_factors * later.eq(0)));
    keys.push_back(times(key, (-u - later.clamp_min(0) * exponents.width).exp() * later.ge(0)));
  }
  return {at::cat(queries, -1), at::cat(keys, -1)};
}

SegmentedExponents continue_exponents(const at::Tensor& log_alpha, double c0, at::Tensor& last) {
  const int64_t T = log_alpha.size(1);
  const at::Tensor straight = last.unsqueeze(1) + log_alpha.to(at::kDouble).cumsum(1);
  if (straight.min().item<double>() >= -c0) {
    last = straight.select(1, T - 1).clone();
    return {straight, {{0, T, {}}}};
  }

  const at::Tensor steps = log_alpha.to(at::kCPU, at::kDouble).contiguous();
  const at::Tensor values = at::empty_like(steps), exponents = last.to(at::kCPU).contiguous().clone();
  const int64_t heads = log_alpha.size(2);
  const double* step = steps.const_data_ptr<double>();
  double* const u = exponents.data_ptr<double>();
  double* const out = values.data_ptr<double>();
  SegmentedExponents result;
  result.segments.push_back({0, 0, {}});
  for (int64_t t = 0; t < T; ++t) {
    const auto at = [&](int64_t i) {
      return (i / heads * T + t) * heads + i % heads;
    };  // of head i in (B, T, H)
    const auto leaves = [&](int64_t i) { return u[i] < c0 && u[i] + step[at(i)] < -c0; };
    bool moves = false;
    for (int64_t i = 0; i < exponents.numel(); ++i) moves = moves || leaves(i);
    if (moves) {
      // Heads that have used half of their range move too, so that few segments are needed; the others stay,
      // so that no key is rescaled, and rounded, more than once in c0 nats of its decay.
      at::Tensor rescale = at::zeros_like(exponents);
      for (int64_t i = 0; i < exponents.numel(); ++i)
        if (u[i] < 0 || leaves(i)) {
          rescale.data_ptr<double>()[i] = u[i] - c0;
          u[i] = c0;
        }
      if (t > 0) {
        result.segments.back().end = t;
        result.segments.push_back({t, 0, {}});
      }
      result.segments.back().rescale = rescale.to(log_alpha.device());
    }
    for (int64_t i = 0; i < exponents.numel(); ++i) out[at(i)] = u[i] = std::max(u[i] + step[at(i)], -c0);
  }
  result.segments.back().end = T;
  result.values = values.to(log_alpha.device());
  last = exponents.to(log_alpha.device());
  return result;
}

at::Tensor state_scores(const at::Tensor& C, const at::Tensor& B, const at::Tensor& log_alpha,
                        const at::Tensor& theta, const at::Tensor& lambda) {
  const Augmentation turned =
      augment(C, B, {}, theta.defined() ? theta.cumsum(1) : theta, lambda, /*d_head=*/1);  // s^2 is lambda
  const at::Tensor scores = at::einsum("bihn,bjhn->bhij", {turned.query, turned.key}).tril();
  if (!log_alpha.defined()) return scores;
  const at::Tensor g = log_alpha.to(at::kDouble).cumsum(1).transpose(1, 2);  // (B, H, T)
  return scores * (g.unsqueeze(-1) - g.unsqueeze(-2)).tril().exp().to(scores.scalar_type());
}

at::Tensor variance_share(const at::Tensor& a, const at::Tensor& b) {
  const int64_t T = a.size(-1);
  const at::Tensor seen = at::ones({T, T}, a.options().dtype(at::kDouble)).tril(), count = seen.sum(-1);
  const auto variance = [&](const at::Tensor& x) {  // summed over rows, (H)
    const at::Tensor rows = x.to(at::kDouble) * seen;
    return (rows.square().sum(-1) / count - (rows.sum(-1) / count).square()).sum(at::IntArrayRef{0, 2});
  };
  const at::Tensor of_a = variance(a), all = of_a + variance(b);
  return of_a / all.clamp_min(1e-300);
}

}  // namespace sisa::model
