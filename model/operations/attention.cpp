#include "model/operations/attention.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/constant_pad_nd.h>
#include <c10/util/Exception.h>

#include "common/error.h"

namespace sisa::model {
namespace {

struct Attended {
  at::Tensor output;  // (B, H, T, d_v)
  at::Tensor
      logsumexp;  // (B, H, T) of the scaled scores, fp32 or wider; of inputs that require grad, or if wanted
};

// Zero channels at the end, up to `width`. They change no score and give zero outputs.
at::Tensor widen(const at::Tensor& x, int64_t width) {
  return x.size(-1) == width ? x : at::constant_pad_nd(x, {0, width - x.size(-1)});
}
int64_t round_up_to_8(int64_t n) {
  return (n + 7) / 8 * 8;
}
// query (B, T, H, d_qk), key (B, S, H, d_qk), value (B, S, H, d_v); causal needs S = T.
Attended attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double scale,
                bool causal, bool want_logsumexp) {
  const int64_t d_qk = query.size(-1), d_v = value.size(-1), T = query.size(1);
  const at::Tensor q = query.transpose(1, 2), k = key.transpose(1, 2),
                   v = value.transpose(1, 2);  // (B, H, ·, ·)
  Attended result;
  if (query.is_cpu()) {
    // The fused CPU implementation wants equal widths.
    std::tie(result.output, result.logsumexp) =
        at::_scaled_dot_product_flash_attention_for_cpu(q, k, widen(v, d_qk), 0.0, causal, {}, scale);
  } else {
    const int64_t w_qk = attention_width(d_qk), w_v = round_up_to_8(d_v);
    const at::Tensor qw = widen(q, w_qk), kw = widen(k, w_qk), vw = widen(v, w_v);
    const bool logsumexp = want_logsumexp || qw.requires_grad() || kw.requires_grad() || vw.requires_grad();
    if (query.scalar_type() == at::kDouble)
      throw Error(
          "Attention in Double runs on the CPU only. Choose run.precision bf16 or fp32, or run.device cpu.");
    constexpr int64_t widest_flash = 256;
    // cuDNN, the fastest, makes a plan for each shape: not for keys that grow by a token at a time.
    // Nor for a single token, which it refuses.
    const bool whole = query.scalar_type() == at::kBFloat16 && causal && T > 1;
    // Its backward pass adds in any order; FlashAttention's, slower and for equal widths, in a fixed one if
    // asked.
    const bool fixed_order = at::globalContext().deterministicAlgorithms();
    if (whole && fixed_order && w_qk <= widest_flash) {
      auto all = at::_scaled_dot_product_flash_attention(qw, kw, widen(v, w_qk), 0.0, causal,
                                                         /*return_debug_mask=*/false, scale);
      result = {std::get<0>(all), std::get<1>(all)};
    } else if (whole && !fixed_order) {
      auto all = at::_scaled_dot_product_cudnn_attention(qw, kw, vw, {}, logsumexp, 0.0, causal,
                                                         /*return_debug_mask=*/false, scale);
      result = {std::get<0>(all), std::get<1>(all)};
    } else {
      auto all = at::_scaled_dot_product_efficient_attention(qw, kw, vw, {}, logsumexp, 0.0, causal, scale);
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

}  // namespace

// Multiples of 8, and beyond 128, where cuDNN has few kernels, 192.
int64_t attention_width(int64_t channels) {
  return channels > 128 && channels <= 192 ? 192 : round_up_to_8(channels);
}

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double scale) {
  return attend(query, key, value, scale, /*causal=*/true, /*want_logsumexp=*/false).output.transpose(1, 2);
}

at::Tensor attention_to_past(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             double scale) {
  const int64_t T = query.size(1), past = key.size(1) - T;
  TORCH_INTERNAL_ASSERT(past >= 0);
  if (past == 0) return attention(query, key, value, scale);
  if (T == 1) return attend(query, key, value, scale, /*causal=*/false, false).output.transpose(1, 2);
  // What came before, all of which is seen, and the tokens themselves: two softmaxes, weighted by their sums.
  const Attended before =
      attend(query, key.narrow(1, 0, past), value.narrow(1, 0, past), scale, /*causal=*/false, true);
  const Attended within =
      attend(query, key.narrow(1, past, T), value.narrow(1, past, T), scale, /*causal=*/true, true);
  const at::Tensor share = (before.logsumexp - within.logsumexp).sigmoid().unsqueeze(-1);
  const at::ScalarType wide = share.scalar_type();
  return (before.output.to(wide) * share + within.output.to(wide) * (1 - share))
      .to(value.scalar_type())
      .transpose(1, 2);
}

}  // namespace sisa::model
