// The operations that touch parameters, and the small ones that several mixers share.
//
// A parameter's gradient never passes through autograd's own accumulation: each function below adds it
// straight into Parameter::gradient, in that buffer's type, and returns no gradient for the value. So no
// micro-batch rounds a gradient to bf16.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "common/parameter.h"
#include "model/operations/normed.h"

namespace sisa::model {

// x (…, columns) times the transpose of the rows [first_row, first_row + num_rows) of a stored matrix: (…,
// num_rows) of `out_type`, which is x's type or, for x in bf16, fp32.
at::Tensor linear(const at::Tensor& x, common::Parameter& matrix, int64_t first_row, int64_t num_rows,
                  at::ScalarType out_type);
at::Tensor linear(const at::Tensor& x, common::Parameter& matrix);  // all rows, x's type

// Rows of `matrix` chosen by ids (B, T): (B, T, columns).
at::Tensor embedding(const at::Tensor& ids, common::Parameter& matrix);

// The parameter's value, converted to `type`.
at::Tensor use(common::Parameter& parameter, at::ScalarType type);

// x / sqrt(mean(x^2) + epsilon) * weight over the last dimension, computed in `statistics` and rounded once
// to x's type.
at::Tensor rms_norm(const at::Tensor& x, common::Parameter& weight, double epsilon,
                    at::ScalarType statistics);

// The same for each head of x (B, T, H, n), with weights of their own: `weight` has H n elements.
at::Tensor head_rms_norm(const at::Tensor& x, common::Parameter& weight, double epsilon,
                         at::ScalarType statistics);

// sum = x + delta, rounded, and rms_norm(sum). delta may be undefined: 0.
Normed add_rms_norm(const at::Tensor& x, const at::Tensor& delta, common::Parameter& weight, double epsilon,
                    at::ScalarType statistics);

// silu(gate) up of gate_up (…, 2 n), the gate first: (…, n).
at::Tensor swiglu(const at::Tensor& gate_up);

// Turns each interleaved pair (z[2p], z[2p+1]) of the last dimension by an angle given as cosine and sine (…,
// n / 2) that broadcast against z (…, n): (a cos - b sin, a sin + b cos).
at::Tensor rotate_pairs(const at::Tensor& z, const at::Tensor& cosine, const at::Tensor& sine);

// Sum over all rows of the cross entropy of softmax(hidden E^T) against targets: hidden (N, d), E the first
// `vocab_size` rows of `matrix`, targets (N) int64. A scalar of `statistics`. Works through rows in parts, so
// that all logits are never held at once; the backward pass computes them again.
at::Tensor cross_entropy_sum(const at::Tensor& hidden, common::Parameter& matrix, int64_t vocab_size,
                             const at::Tensor& targets, at::ScalarType statistics);
// The same for each row, (N), without a graph. With `correct`, also whether the target has the largest logit,
// (N) bool.
at::Tensor cross_entropies(const at::Tensor& hidden, const common::Parameter& matrix, int64_t vocab_size,
                           const at::Tensor& targets, at::ScalarType statistics,
                           at::Tensor* correct = nullptr);

}  // namespace sisa::model
