// Parameters: all that the model (which computes with them) and the parallel layer (which stores, reduces and
// updates them) share.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/precision.h"

namespace sisa::common {

// A distribution of initial values as a pure function of two independent uniforms in (0, 1).
using Distribution = std::function<double(double, double)>;
Distribution normal(double standard_deviation);  // Box-Muller; mean 0
Distribution constant(double value);

// A named logical tensor inside a stored one: what is counted, initialised, saved, exported and spoken of.
struct Block {
  std::string name;  // official name, e.g. "layers.0.W_Q.weight"; unique in a model
  std::vector<int64_t>
      shape;        // logical; 1 to 3 dimensions; as a matrix: shape[0] rows, product of the rest columns
  int64_t row = 0;  // first row within the stored parameter
  Distribution initial;  // drawn with hash64(name) at the logical row-major index

  int64_t rows() const { return shape.front(); }
  int64_t columns() const;
  int64_t numel() const { return rows() * columns(); }
};

// A stored tensor: `rows` x `columns` physical elements (vectors: columns = 1) holding blocks one above the
// other, each left-aligned. Cells outside every block are padding: zero at the start, and they stay exactly
// zero because no gradient ever reaches them. Projections that share their input are blocks of one parameter,
// so that one GEMM serves them all.
struct Parameter {
  std::string name;    // for messages: "layers.0.projections"
  std::string bucket;  // "embedding", "layers.0", …, "final_norm": reduced together
  Group group = Group::matrix;
  int64_t rows = 0;
  int64_t columns = 1;
  std::vector<Block> blocks;  // in order of `row`, disjoint

  // Bound by parallel::ParameterSpace to views of its flat buffers. Shape (rows, columns), or (rows) for
  // columns = 1.
  at::Tensor value;     // value_type(precision, group); a leaf that requires grad
  at::Tensor gradient;  // state_type(precision, group); sums over micro-batches; undefined outside training

  int64_t numel() const { return rows * columns; }          // physical
  const Block& block(const std::string& block_name) const;  // throws an internal error if absent
  // The view of a tensor shaped like `value` (or `gradient`) that holds just `block`, in its logical shape (a
  // copy is never made: shapes of 3 dimensions need columns() == columns).
  at::Tensor view(const at::Tensor& stored, const Block& block) const;
};

// Writes initial values of the logical elements [begin, end) of `block` (row-major) to `out`. Independent of
// how the range is cut.
void initial_values(const Block& block, uint64_t seed, int64_t begin, int64_t end, double* out);

// Number of logical elements of all blocks.
int64_t count_elements(const std::vector<Parameter*>& parameters);

}  // namespace sisa::common
