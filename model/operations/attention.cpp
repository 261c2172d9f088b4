#include "model/operations/attention.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "common/error.h"

namespace sisa::model {
namespace {

struct Result {
  at::Tensor output;  // (B, H, T, d_v)
  at::Tensor
      logsumexp;  // (B, H, T) of the scaled scores, fp32 or wider; if wanted, or if an input requires grad
};

// Which keys a query sees.
struct Seen {
  bool causal = false;  // those up to its own place; needs as many keys as queries
  at::Tensor mask =
      {};  // (T, S) fp32: 0 where it does, -inf where it does not; undefined: all, or as `causal` says
};

// Zero channels at the end, up to `width`. They change no score and give zero outputs.
at::Tensor widen(const at::Tensor& x, int64_t width) {
  return x.size(-1) == width ? x : at::constant_pad_nd(x, {0, width - x.size(-1)});
}
int64_t round_up_to_8(int64_t n) {
  return (n + 7) / 8 * 8;
}
// The mask as the GPU's implementation takes it: for every sequence and head, in rows of aligned length.
std::optional<at::Tensor> bias_of(const at::Tensor& mask, const at::Tensor& query) {
  if (!mask.defined()) return std::nullopt;
  constexpr int64_t alignment = 16;
  const int64_t T = mask.size(0), S = mask.size(1);
  const at::Tensor rows =
      at::empty({T, (S + alignment - 1) / alignment * alignment}, query.options().requires_grad(false))
          .narrow(1, 0, S);
  rows.copy_(mask);
  return rows.expand({query.size(0), query.size(1), T, S});
}

// Each key head is repeated for the query heads that share it.
at::Tensor repeat_heads(const at::Tensor& x, int64_t num_heads) {
  const int64_t times = num_heads / x.size(2);
  return times == 1 ? x : x.unsqueeze(3).expand({-1, -1, -1, times, -1}).flatten(2, 3);
}

// query (B, T, H, d_qk), key (B, S, H, d_qk), value (B, S, H, d_v).
Result attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double scale,
              const Seen& seen, bool want_logsumexp = false) {
  const bool causal = seen.causal;
  const int64_t d_qk = query.size(-1), d_v = value.size(-1), T = query.size(1);
  const at::Tensor q = query.transpose(1, 2), k = key.transpose(1, 2),
                   v = value.transpose(1, 2);  // (B, H, ·, ·)
  Result result;
  if (query.is_cpu()) {
    // The fused CPU implementation wants equal widths.
    const int64_t width = std::max(d_qk, d_v);
    const std::optional<at::Tensor> mask =
        seen.mask.defined() ? std::optional(seen.mask.to(query.scalar_type())) : std::nullopt;
    std::tie(result.output, result.logsumexp) = at::_scaled_dot_product_flash_attention_for_cpu(
        widen(q, width), widen(k, width), widen(v, width), 0.0, causal, mask, scale);
  } else {
    const int64_t w_qk = attention_width(d_qk), w_v = round_up_to_8(d_v);
    const at::Tensor qw = widen(q, w_qk), kw = widen(k, w_qk), vw = widen(v, w_v);
    const bool logsumexp = want_logsumexp || qw.requires_grad() || kw.requires_grad() || vw.requires_grad();
    if (query.scalar_type() == at::kDouble)
      throw Error(
          "Attention in Double runs on the CPU only. Choose run.precision bf16 or fp32, or run.device cpu.");
    constexpr int64_t widest_flash = 256;
    // cuDNN, the fastest, makes a plan for each shape, so that it is not used for keys that grow by a token at a
    // time. It refuses a single token.
    const bool whole = query.scalar_type() == at::kBFloat16 && causal && T > 1;
    // Its backward pass adds in a nondeterministic order. That of FlashAttention, which is slower and needs equal
    // widths, adds in a fixed order if asked.
    const bool fixed_order = at::globalContext().deterministicAlgorithms();
    const int64_t width = std::max(w_qk, w_v);
    if (whole && fixed_order && width <= widest_flash) {
      auto all = at::_scaled_dot_product_flash_attention(widen(q, width), widen(k, width), widen(v, width),
                                                         0.0, causal,
                                                         /*return_debug_mask=*/false, scale);
      result = {std::get<0>(all), std::get<1>(all)};
    } else if (whole && !fixed_order) {
      auto all = at::_scaled_dot_product_cudnn_attention(qw, kw, vw, {}, logsumexp, 0.0, causal,
                                                         /*return_debug_mask=*/false, scale);
      result = {std::get<0>(all), std::get<1>(all)};
    } else {
      auto all = at::_scaled_dot_product_efficient_attention(qw, kw, vw, bias_of(seen.mask, qw), logsumexp,
                                                             0.0, causal, scale);
      result = {std::get<0>(all), std::get<1>(all)};
    }
  }
  // Taking all of it would still cost the backward pass a copy.
  if (result.output.size(-1) > d_v) result.output = result.output.narrow(-1, 0, d_v);
  if (want_logsumexp) {  // some implementations return (B, H, T, 1), some round T up
    if (result.logsumexp.dim() == 4) result.logsumexp = result.logsumexp.squeeze(-1);
    result.logsumexp = result.logsumexp.narrow(2, 0, T);
  }
  return result;
}

// A window's attention, in blocks of queries that are as long as the window, so that no mask is larger than
// about three windows by one. The keys are the last `num_new` tokens' and those kept from before them; see
// attention_to_past.
at::Tensor attend_in_window(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const AttentionShape& shape, int64_t num_forgotten) {
  const int64_t T = query.size(1), S = key.size(1), prefix = std::min(shape.prefix, S);
  const int64_t first_query = S + num_forgotten - T;  // position of the first query
  // Position of the s-th key, and the first key at or after a position that lies beyond the prefix.
  const auto position = [&](int64_t s) { return s < prefix ? s : s + num_forgotten; };
  const auto key_at = [&](int64_t p) { return std::max(prefix, p - num_forgotten); };
  constexpr int64_t smallest_block = 128;
  const int64_t block = std::max(shape.window, smallest_block);
  std::vector<at::Tensor> outputs;
  for (int64_t begin = 0; begin < T; begin += block) {
    const int64_t count = std::min(block, T - begin), first = first_query + begin;  // of queries; a position
    const int64_t from = std::min(key_at(first - shape.window + 1), S), to = key_at(first + count);
    // The prefix, as far as it lies before the last query, and then the keys of the window.
    const int64_t num_prefix = std::min(prefix, first + count);
    const auto chosen = [&](const at::Tensor& x) {
      return at::cat({x.narrow(1, 0, num_prefix), x.narrow(1, from, std::max<int64_t>(0, to - from))}, 1);
    };
    std::vector<int64_t> positions;
    for (int64_t s = 0; s < num_prefix; ++s) positions.push_back(position(s));
    for (int64_t s = from; s < to; ++s) positions.push_back(position(s));
    const at::Tensor of_keys = at::tensor(positions, at::kLong).unsqueeze(0),
                     of_queries = at::arange(first, first + count, at::kLong).unsqueeze(1);
    const at::Tensor sees =
        of_keys.le(of_queries)
            .logical_and(of_keys.gt(of_queries - shape.window).logical_or(of_keys.lt(shape.prefix)));
    const at::Tensor mask = at::zeros(sees.sizes(), at::kFloat)
                                .masked_fill_(sees.logical_not(), -std::numeric_limits<double>::infinity())
                                .to(query.device());
    outputs.push_back(
        attend(query.narrow(1, begin, count), chosen(key), chosen(value), shape.scale, {.mask = mask})
            .output.transpose(1, 2));
  }
  return outputs.size() == 1 ? outputs.front() : at::cat(outputs, 1);
}

}  // namespace

// Multiples of 8, and beyond 128, where cuDNN has few kernels, 192.
int64_t attention_width(int64_t channels) {
  return channels > 128 && channels <= 192 ? 192 : round_up_to_8(channels);
}

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionShape& shape) {
  const at::Tensor k = repeat_heads(key, shape.num_heads), v = repeat_heads(value, shape.num_heads);
  if (!shape.is_full() && shape.window < query.size(1)) return attend_in_window(query, k, v, shape, 0);
  return attend(query, k, v, shape.scale, {.causal = true}).output.transpose(1, 2);
}

at::Tensor attention_to_past(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const AttentionShape& shape, int64_t num_forgotten) {
  const int64_t T = query.size(1), past = key.size(1) - T;
  TORCH_INTERNAL_ASSERT(past >= 0 && (num_forgotten == 0 || !shape.is_full()));
  if (past == 0) return attention(query, key, value, shape);
  const at::Tensor k = repeat_heads(key, shape.num_heads), v = repeat_heads(value, shape.num_heads);
  if (!shape.is_full() && shape.window < key.size(1) + num_forgotten)
    return attend_in_window(query, k, v, shape, num_forgotten);
  const double scale = shape.scale;
  if (T == 1) return attend(query, k, v, scale, {}).output.transpose(1, 2);
  // What came before, all of which is seen, and the tokens themselves: two softmaxes, weighted by their sums.
  const Result before = attend(query, k.narrow(1, 0, past), v.narrow(1, 0, past), scale, {}, true);
  const Result within =
      attend(query, k.narrow(1, past, T), v.narrow(1, past, T), scale, {.causal = true}, true);
  const at::Tensor share = (before.logsumexp - within.logsumexp).sigmoid().unsqueeze(-1);
  const at::ScalarType wide = share.scalar_type();
  return (before.output.to(wide) * share + within.output.to(wide) * (1 - share))
      .to(value.scalar_type())
      .transpose(1, 2);
}

}  // namespace sisa::model
