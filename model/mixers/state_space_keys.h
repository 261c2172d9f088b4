// Keys and initial values that the systems with state-space layers share.
#pragma once

#include <cstdint>
#include <string>

#include "common/parameter.h"
#include "model/system.h"

namespace sisa::model {

Key d_state_key(int64_t default_value);
// 0, the default, becomes a number in the system's `complete`.
Key d_inner_key();
Key head_dim_key();
Key chunk_length_key();
// How matrices begin: "uniform" or "normal".
Key projection_init_key(const std::string& default_value);
// Of a matrix with `fan_in` columns, as that key says.
common::Distribution projection_init(const ModelConfig& config, int64_t fan_in);

// d_inner, if it is 0, becomes numerator / denominator times d_model.
void complete_d_inner(ModelConfig& config, int64_t numerator, int64_t denominator);
// Throws ConfigError where d_inner does not split into heads.
void validate_state_space(const ModelConfig& config);

// Of dt_bias: softplus of it is a time step that is uniform in its logarithm, from 1e-3 to 1e-1.
common::Distribution time_step_bias();

}  // namespace sisa::model
