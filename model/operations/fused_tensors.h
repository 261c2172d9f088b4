// What the files of fused operations share: tensors as kernels take them.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAStream.h>

#include <optional>

#include "common/parameter.h"
#include "model/kernels/kernels.h"
#include "model/operations/autograd.h"

namespace sisa::model::fused {

using common::Parameter;
using kernels::Bf16;

// A tensor that may be undefined, in the form in which autograd's functions take it.
using Maybe = std::optional<at::Tensor>;
inline Maybe maybe(const at::Tensor& x) {
  return x.defined() ? Maybe(x) : std::nullopt;
}

inline void* stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}
inline const Bf16* bits(const at::Tensor& x) {  // null: undefined
  TORCH_INTERNAL_ASSERT(!x.defined() || (x.is_contiguous() && x.scalar_type() == at::kBFloat16));
  return x.defined() ? static_cast<const Bf16*>(x.const_data_ptr()) : nullptr;
}
inline Bf16* mutable_bits(const at::Tensor& x) {
  return const_cast<Bf16*>(bits(x));
}
template <typename T>
T* data_of(const at::Tensor& x) {  // null: undefined
  return x.defined() ? x.data_ptr<T>() : nullptr;
}
inline at::Tensor contiguous(const at::Tensor& x) {
  return x.defined() ? x.contiguous() : x;
}
inline at::Tensor like(const at::Tensor& x, at::IntArrayRef shape, at::ScalarType type) {
  return at::empty(shape, x.options().dtype(type).requires_grad(false));
}

}  // namespace sisa::model::fused
