// A small set of parameters with every shape that can be stored, and helpers for the tests of its space.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <string>
#include <vector>

#include "common/hash.h"
#include "common/parameter.h"
#include "common/random.h"
#include "parallel/parameter_space.h"

namespace sisa::tests {

inline const std::vector<common::Precision> all_precisions = {
    common::Precision::bf16, common::Precision::bf16_pure, common::Precision::fp32, common::Precision::fp64};

class Sample {
 public:
  // padded: there are rows and columns around the blocks.
  explicit Sample(bool padded = true) {
    const common::ParameterTraits matrix = {.kind = common::ParameterKind::matrix};
    const common::ParameterTraits vector = {.kind = common::ParameterKind::vector};
    const common::ParameterTraits slow_vector = {
        .kind = common::ParameterKind::vector, .never_bf16 = true, .never_decays = true, .lr_scale = 0.1};
    const auto normal = common::normal(0.5);
    const int64_t pad = padded ? 3 : 0;
    add("embedding", matrix, 13 + pad, 5 + pad, {{"embedding", {13, 5}, 0, normal}});
    add("layers.0", vector, 11 + pad, 1, {{"norm", {5}, 0, normal}, {"bias", {6}, 5 + pad, normal}});
    add("layers.0", matrix, 20 + pad, 8 + pad,
        {{"query", {7, 5}, 0, normal},
         {"key", {3, 8}, 7 + pad, normal},
         {"gate", {10, 1}, 10 + pad, normal}});
    add("layers.0", slow_vector, 3, 1, {{"lambda", {3}, 0, common::constant(-2)}});
    add("layers.0", matrix, 4 + pad, 8, {{"convolution", {4, 2, 4}, 0, normal}});
    add("layers.1", matrix, 30, 70 + pad, {{"up", {30, 70}, 0, normal}});
    add("layers.1", vector, 9, 1, {{"decay_bias", {9}, 0, common::constant(-5)}});
  }

  std::vector<common::Parameter*> pointers() {
    std::vector<common::Parameter*> result;
    for (common::Parameter& p : parameters_) result.push_back(&p);
    return result;
  }

 private:
  void add(const std::string& bucket, const common::ParameterTraits& traits, int64_t rows, int64_t columns,
           std::vector<common::Block> blocks) {
    common::Parameter p;
    p.name = bucket + "." + blocks.front().name;
    p.bucket = bucket;
    p.traits = traits;
    p.rows = rows;
    p.columns = columns;
    p.blocks = std::move(blocks);
    parameters_.push_back(std::move(p));
  }
  std::vector<common::Parameter> parameters_;
};

// A copy of the logical elements of a block, of a tensor shaped like the parameter's value; 1-D, on the CPU.
inline at::Tensor elements(const common::Parameter& parameter, const at::Tensor& stored,
                           const common::Block& block) {
  return parameter.view(stored.detach(), block).cpu().clone().reshape(-1);
}

// The gradient that `rank` finds in `step`: uniform in (-0.5, 0.5), a multiple of 1/64, so that sums over
// ranks are exact in every number type.
inline at::Tensor gradient_of(const common::Block& block, int rank, int step) {
  const common::RandomStream stream(static_cast<uint64_t>(100 * rank + step), common::hash64(block.name));
  at::Tensor gradient = at::empty(block.shape, at::kDouble);
  double* const data = gradient.data_ptr<double>();
  for (int64_t i = 0; i < block.numel(); ++i)
    data[i] = (static_cast<double>(stream.below(63, static_cast<uint64_t>(i))) - 31) / 64;
  return gradient;
}

inline void set_gradients(parallel::ParameterSpace& space, int rank, int step) {
  space.zero_gradients();
  for (common::Parameter* p : space.parameters())
    for (const common::Block& block : p->blocks)
      p->view(p->gradient, block).copy_(gradient_of(block, rank, step));
}

// Whether all cells outside blocks are zero in `whole`, a tensor of the size of the range.
inline bool padding_is_zero(const parallel::FlatRange& range, const at::Tensor& whole) {
  const at::Tensor rest = whole.cpu().clone();
  for (const auto& [parameter, offset] : range.placements) {
    const at::Tensor stored = rest.narrow(0, offset, parameter->numel()).view(parameter->value.sizes());
    for (const common::Block& block : parameter->blocks) parameter->view(stored, block).zero_();
  }
  return rest.count_nonzero().item<int64_t>() == 0;
}

// The same for the values and for the owned slices of masters and moments.
inline bool padding_is_zero(const parallel::ParameterSpace& space) {
  for (const parallel::FlatRange& range : space.ranges()) {
    if (!padding_is_zero(range, range.values)) return false;
    for (const at::Tensor& state : {range.masters, range.moment1, range.moment2}) {
      if (!state.defined()) continue;
      const at::Tensor whole = at::zeros({range.size}, state.options());
      range.owned(whole).copy_(state);
      if (!padding_is_zero(range, whole)) return false;
    }
  }
  return true;
}

}  // namespace sisa::tests
