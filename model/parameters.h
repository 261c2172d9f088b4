// The stored parameters that layers and mixers are made of. None holds memory until a
// parallel::ParameterSpace binds it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/parameter.h"

namespace sisa::model {

// Values for each channel or head, (size): its only block has its own name.
inline common::Parameter make_vector(const std::string& name, const std::string& bucket, int64_t size,
                                     common::Distribution initial) {
  common::Parameter vector{
      .name = name, .bucket = bucket, .traits = {.kind = common::ParameterKind::vector}, .rows = size};
  vector.blocks = {{name, {size}, 0, std::move(initial)}};
  return vector;
}

// A norm's weight: (size), initially 1.
inline common::Parameter make_norm(const std::string& name, const std::string& bucket, int64_t size) {
  return make_vector(name, bucket, size, common::constant(1));
}

// A matrix of one block (rows, columns), stored with `physical_rows` rows.
inline common::Parameter make_matrix(const std::string& name, const std::string& bucket, int64_t rows,
                                     int64_t columns, int64_t physical_rows, common::Distribution initial) {
  common::Parameter matrix{.name = name, .bucket = bucket, .rows = physical_rows, .columns = columns};
  matrix.blocks = {{name, {rows, columns}, 0, std::move(initial)}};
  return matrix;
}

}  // namespace sisa::model
