// The one attention core: every system that has attention goes through it. Score augmentations (SISA's state
// channels, FoX's bias channels) are extra channels of query and key; the scale stays that of the shape.
//
// Attention over all earlier keys uses only implementations that replace masked scores and never one that adds
// -inf to them: SISA's masked scores may overflow to infinity, and inf - inf is NaN (spec 1.5). A window needs
// a mask that is added, so that it is for scores that are finite everywhere.
//
// H query heads, G key and value heads (AttentionShape). Throws Error for fp64 on a GPU, which no such
// implementation has.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/operations/attention_shape.h"

namespace sisa::model {

// Channels to which query and key of `channels` are best filled up with zeros on a GPU.
int64_t attention_width(int64_t channels);

// Causal softmax(scale query key^T) value of whole sequences. query (B, T, H, d_qk), key (B, T, G, d_qk), value
// (B, T, G, d_value): (B, T, H, d_value).
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionShape& shape);

// The same for the last T tokens of a sequence of which S >= T keys are kept: query (B, T, H, d_qk), key (B, S,
// G, d_qk), value (B, S, G, d_value). `num_forgotten` tokens after the shape's prefix, which no query sees any
// more, are not among the S. Without a graph.
at::Tensor attention_to_past(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const AttentionShape& shape, int64_t num_forgotten = 0);

}  // namespace sisa::model
