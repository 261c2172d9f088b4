// The one attention core: every system that has attention goes through it. Score augmentations (SISA's state
// channels, FoX's bias channels) are extra channels of query and key; the scale stays that of d_v.
//
// Only implementations that replace masked scores are used, never one that adds -inf to them: SISA's masked
// scores may overflow to infinity, and inf - inf is NaN (spec 1.5).
#pragma once

#include <ATen/core/Tensor.h>

namespace sisa::model {

// Channels to which query and key of `channels` are best filled up with zeros on a GPU.
int64_t attention_width(int64_t channels);

// Causal softmax(scale query key^T) value. query, key (B, T, H, d_qk), value (B, T, H, d_v) with d_v <= d_qk:
// (B, T, H, d_v). Throws Error for fp64 on a GPU, which no such implementation has.
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double scale);

// The same for the last T of S >= T tokens: query (B, T, H, d_qk), key (B, S, H, d_qk), value (B, S, H, d_v).
// Without a graph.
at::Tensor attention_to_past(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             double scale);

}  // namespace sisa::model
