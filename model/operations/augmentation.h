// SISA's state channels of query and key (spec section 1), as functions of tensors alone: what a fused kernel
// computes in one pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/operations/decay.h"

namespace sisa::model {

// Channels appended to query and key, (B, T, H, ·) each; undefined: none.
struct Augmentation {
  at::Tensor query, key;
};

// The exponents u_t = g_t - c_t of a whole sequence, g_t being the sum of log alpha up to and including t. The
// offset c_t is not differentiated.
//   causal   c_t = -(2 k_t + 1) c0, so that u_t stays within [-c0, c0]. The segment k_t = 0, 1, … in which t lies
//            depends on no later token. One offset serves decays of 2 c0 nats (spec 1.5 a), n segments 2 n c0.
//   minimax  one offset, halfway between the sequence's largest and smallest g, and |u| <= clamp, as published
//            (spec 1.1, steps 6 and 7).
struct Exponents {
  at::Tensor values;         // u (B, T, H) fp64, limited to its range
  at::Tensor segment;        // k (B, T, H) fp64; undefined if all are 0
  int64_t num_segments = 1;  // largest k + 1
  double width = 0;          // 2 c0: from one offset to the next
  at::Tensor num_limited;    // (H) int64: of how many tokens the limit changed the value
};
// log_alpha (B, T, H), negative; it is summed in fp64. There are at most max_segments segments: what decays
// further meets the limit.
Exponents decay_exponents(const at::Tensor& log_alpha, const DecayOffset& offset, int64_t max_segments = 1);
// num_limited of attention that needs no segments, since every block of tokens has an exponent of its own
// (kernels.h).
at::Tensor num_limited_in_blocks(const at::Tensor& log_alpha);

// Channels whose product, scaled by 1/sqrt(d_head), is lambda e^{g_i - g_j} C_i^T R(Phi_j - Phi_i) B_j for j
// <= i (1.1, steps 8 and 9). In one segment, with s = d_head^{1/4} sqrt(lambda),
//   Cbar_t = s R(Phi_t) e^{u_t} C_t and Bbar_t = s R(Phi_t) e^{-u_t} B_t.
// With several segments, each segment has its own d_state channels. A query fills those of its segment, and a key
// those of its own segment and of all later ones, each with that segment's offset. C, B (B, T, H, d_state);
// exponents without values: no decay; phase Phi (B, T, H, d_state / 2), undefined: no rotation; lambda (H) or
// (1), positive. Results (B, T, H, num_segments d_state) in C's type.
Augmentation augment(const at::Tensor& C, const at::Tensor& B, const Exponents& exponents,
                     const at::Tensor& phase, const at::Tensor& lambda, int64_t d_head);

// For evaluation, where a sequence is continued, attention runs in one segment after the other. A segment may
// move the offset of some heads to its own first token; the keys of all earlier tokens, whose factors e^{-u}
// belong to the former offset, are then multiplied by e^rescale. Exact at any total decay.
struct Segment {
  int64_t begin, end;  // tokens
  at::Tensor rescale;  // (B, H) fp64, -2 c0 to 0; undefined: no offset moved
};
struct SegmentedExponents {
  at::Tensor values;  // (B, T, H) fp64, each belonging to the offset of its segment
  std::vector<Segment> segments;
};
// Continues sequences whose last exponent is `last` (B, H) fp64 on log_alpha's device, which is replaced by
// the new last one; c0 before the first token. Only a single token that decays by more than 2 c0 meets the
// limit, where nothing of what came before is left.
SegmentedExponents continue_exponents(const at::Tensor& log_alpha, double c0, at::Tensor& last);

// For inspection: lambda e^{g_i - g_j} C_i^T R(Phi_j - Phi_i) B_j by its definition, (B, H, T, T), 0 for j >
// i. log_alpha, theta as above, undefined: none.
at::Tensor state_scores(const at::Tensor& C, const at::Tensor& B, const at::Tensor& log_alpha,
                        const at::Tensor& theta, const at::Tensor& lambda);
// The part that a has in the variance of a + b along each row's tokens j <= i, as if both were independent: sum
// var(a) / sum (var(a) + var(b)) over all rows, (H). a, b (B, H, T, T). A constant added to a row, which softmax
// ignores, changes nothing. 0 where nothing varies.
at::Tensor variance_share(const at::Tensor& a, const at::Tensor& b);

}  // namespace sisa::model
