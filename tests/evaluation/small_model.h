// A network that scores in milliseconds.
#pragma once

#include "tests/model/bound_model.h"

namespace sisa::tests {

// In fp64, so that sums can be compared closely.
inline BoundModel small_model(int64_t vocab_size) {
  model::ModelConfig config;
  config.vocab_size = vocab_size;
  config.d_model = 16;
  config.num_layers = 1;
  config.d_ff = 16;
  config.settings = {{"num_heads", 2}, {"d_state", 4}};
  return BoundModel(config, common::Precision::fp64);
}

}  // namespace sisa::tests
