#include "model/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/pow.h>

#include <algorithm>

#include "model/functional.h"

namespace sisa::model {

void Rope::grow(int64_t length, const at::Device& device) {
  if (cosine_.defined() && cosine_.size(0) >= length && cosine_.device() == device) return;
  const at::NoGradGuard no_grad;
  if (cosine_.defined())
    length = std::max(length, 2 * cosine_.size(0));  // growing token by token stays linear
  const at::Tensor exponents = at::arange(0, d_head_, 2, at::kDouble) / static_cast<double>(d_head_);
  const at::Tensor angles = at::arange(length, at::kDouble).unsqueeze(1) * at::pow(base_, -exponents);
  cosine_ = angles.cos().to(statistics_).unsqueeze(1).to(device);
  sine_ = angles.sin().to(statistics_).unsqueeze(1).to(device);
}

at::Tensor Rope::operator()(const at::Tensor& x) {
  const int64_t length = x.size(1);
  grow(length, x.device());
  return rotate_pairs(x.to(statistics_), cosine_.narrow(0, 0, length), sine_.narrow(0, 0, length));
}

}  // namespace sisa::model
