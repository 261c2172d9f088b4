#include "model/operations/products.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

namespace sisa::model {

void add_outer_product(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b) {
  const at::ScalarType type = gradient.scalar_type();
  if (a.is_cuda() && b.scalar_type() == at::kBFloat16 && type == at::kFloat) {
    at::Tensor out = gradient;
    at::addmm_out(out, gradient, a.to(at::kBFloat16).t(), b, type);
  } else {
    at::Tensor(gradient).addmm_(a.to(type).t(), b.to(type));
  }
}

at::Tensor matmul_to(const at::Tensor& a, const at::Tensor& b, at::ScalarType out_type) {
  if (a.scalar_type() == out_type) return a.mm(b);
  if (a.is_cuda() && out_type == at::kFloat) return at::mm(a, b, out_type);
  return a.to(out_type).mm(b.to(out_type));
}

}  // namespace sisa::model
