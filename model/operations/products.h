// Matrix products whose result is wider than their factors.
#pragma once

#include <ATen/core/Tensor.h>

namespace sisa::model {

// a (m, k) times b (k, n) with the result in `out_type`: that of a and b, or wider (then nothing is rounded
// to theirs on the way).
at::Tensor matmul_to(const at::Tensor& a, const at::Tensor& b, at::ScalarType out_type);

// gradient (m, k) += a^T b, a (n, m), b (n, k), summed in the gradient's type.
void add_outer_product(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b);

}  // namespace sisa::model
