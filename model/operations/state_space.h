// What state-space mixers (spec sections 4 and 5) are made of beside matrix products, as functions of tensors
// alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sisa::model {

// Each channel's weighted sum of its last values: y_t = bias + sum_i weight_i x_{t - width + 1 + i}, so that
// the last weight is that of the current token. x (B, T, channels), weight (channels, width), bias
// (channels): as x. `before`: the width - 1 values of x before these, (B, width - 1, channels), to be brought
// up to date; undefined: zeros. Null: whole sequences.
at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              at::Tensor* before);

// The recurrence of a state S (B, h, P, N),
//   S_t = e^{log_decay_t} S_{t-1} + weight_t x_t key_t^T  and  y_t = S_t query_t,
// but in y_t itself x_t key_t^T weighs own_t where that is defined.
struct Scan {
  at::Tensor x;           // (B, T, h, P), in whose type all is computed
  at::Tensor log_decay;   // (B, T, h), at most 0; summed in fp64
  at::Tensor key, query;  // (B, T, h, N), or (B, T, 1, N) if all heads share them
  at::Tensor weight;      // (B, T, h)
  at::Tensor own = {};    // (B, T, h)
  int64_t chunk_length = 64;
};
// y (B, T, h, P). Computed in chunks of `chunk_length` tokens: within a chunk by products with a matrix of
// decays, from chunk to chunk by the recurrence, in parallel over all of them. The result does not depend on
// the length but for rounding; memory beside the inputs is B T h (chunk_length + P N / chunk_length) numbers,
// a few times. All exponents are at most 0, so that no range of decay overflows, and no output depends on a
// later input, not even by a bit. `state`: S before the first token, undefined: 0; becomes that after the
// last. Null: whole sequences.
at::Tensor scan(const Scan& inputs, at::Tensor* state);

}  // namespace sisa::model
