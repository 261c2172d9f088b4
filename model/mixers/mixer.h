// A mixer is the one thing in which the systems differ: it moves information along the sequence.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/parameter.h"
#include "common/precision.h"
#include "model/config.h"

namespace sisa::model {

// What a layer's parts are built from.
struct LayerContext {
  const ModelConfig& config;
  int64_t index;       // of the layer
  std::string bucket;  // "layers.3"
  std::string prefix;  // of its parameters' names: "layers.3."
  common::Precision precision;
  int64_t pad_to;  // physical rows and widths are multiples of this
  at::ScalarType compute() const { return common::compute_type(precision); }
  at::ScalarType statistics() const { return common::statistics_type(precision); }
  int64_t padded(int64_t n) const { return (n + pad_to - 1) / pad_to * pad_to; }
};

class Mixer {
 public:
  virtual ~Mixer() = default;
  // In the order in which they are stored.
  virtual std::vector<common::Parameter*> parameters() = 0;
  // x: the normed residual stream, (B, T, d_model) in the compute type. Returns what is added to the stream,
  // in the same shape and type.
  virtual at::Tensor forward(const at::Tensor& x) = 0;
};

}  // namespace sisa::model
