#include "model/operations/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>

#include <algorithm>

#include "model/operations/functional.h"

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

at::Tensor Rope::operator()(const at::Tensor& x, const std::vector<int64_t>& first_positions) {
  const int64_t T = x.size(1);
  const auto& first = first_positions;
  const auto farthest = std::max_element(first.begin(), first.end());
  grow(T + (first.empty() ? 0 : *farthest), x.device());
  const auto turn = [&](const at::Tensor& sequences, int64_t position) {
    return rotate_pairs(sequences.to(statistics_), cosine_.narrow(0, position, T),
                        sine_.narrow(0, position, T));
  };
  if (first.empty() || std::equal(first.begin() + 1, first.end(), first.begin()))
    return turn(x, first.empty() ? 0 : first.front());
  std::vector<at::Tensor> turned;
  for (size_t b = 0; b < first.size(); ++b)
    turned.push_back(turn(x.narrow(0, static_cast<int64_t>(b), 1), first[b]));
  return at::cat(turned);
}

}  // namespace sisa::model
