#include "model/attention.h"

#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/constant_pad_nd.h>

#include "common/error.h"

namespace sisa::model {
namespace {

// Zero channels at the end, up to `width`. They change no score and give zero outputs.
at::Tensor widen(const at::Tensor& x, int64_t width) {
  return x.size(-1) == width ? x : at::constant_pad_nd(x, {0, width - x.size(-1)});
}
int64_t round_up_to_8(int64_t n) {
  return (n + 7) / 8 * 8;
}  // what the GPU implementations take

}  // namespace

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double scale) {
  const int64_t d_qk = query.size(-1), d_v = value.size(-1);
  const at::Tensor q = query.transpose(1, 2), k = key.transpose(1, 2),
                   v = value.transpose(1, 2);  // (B, H, T, ·)
  at::Tensor output;
  if (query.is_cpu()) {
    // The fused CPU implementation wants equal widths.
    output = std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(q, k, widen(v, d_qk), 0.0,
                                                                         /*is_causal=*/true, {}, scale));
  } else {
    const int64_t w_qk = round_up_to_8(d_qk), w_v = round_up_to_8(d_v);
    const at::Tensor qw = widen(q, w_qk), kw = widen(k, w_qk), vw = widen(v, w_v);
    const bool need_statistics = qw.requires_grad() || kw.requires_grad() || vw.requires_grad();
    switch (query.scalar_type()) {
      case at::kBFloat16:
        output = std::get<0>(at::_scaled_dot_product_cudnn_attention(qw, kw, vw, {}, need_statistics, 0.0,
                                                                     /*is_causal=*/true,
                                                                     /*return_debug_mask=*/false, scale));
        break;
      case at::kFloat:
        output = std::get<0>(at::_scaled_dot_product_efficient_attention(qw, kw, vw, {}, need_statistics, 0.0,
                                                                         /*is_causal=*/true, scale));
        break;
      default:
        throw Error(
            "Attention in {} runs on the CPU only. Choose run.precision bf16 or fp32, or run.device cpu.",
            c10::toString(query.scalar_type()));
    }
  }
  return output.narrow(-1, 0, d_v).transpose(1, 2);
}

}  // namespace sisa::model
