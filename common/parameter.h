// Parameters: all that the model, which computes with them, shares with the folder parallel/, which stores,
// reduces and updates them.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/precision.h"

namespace sisa::common {

// A distribution of initial values, as a pure function of two independent uniforms in (0, 1).
using Distribution = std::function<double(double, double)>;
Distribution normal(double standard_deviation);  // by the Box-Muller transform; the mean is 0
Distribution uniform(double low, double high);
Distribution constant(double value);

enum class ParameterKind {
  matrix,  // enters a matrix product or is the embedding
  vector,  // a norm's weight, a bias, or other values per channel or per head
};

// What a parameter needs from those who store and update it. Two parameters of one bucket whose traits are
// equal are stored, reduced and updated together.
struct ParameterTraits {
  ParameterKind kind = ParameterKind::matrix;
  bool never_bf16 = false;    // fp32 in every bf16 mode, also in bf16_pure
  bool never_decays = false;  // excluded from weight decay, whatever the optimizer's options say
  double lr_scale = 1;        // its learning rate divided by the optimizer's; above 0

  bool operator==(const ParameterTraits&) const = default;
};

// The type of the values that the model computes with.
inline c10::ScalarType value_type(Precision precision, const ParameterTraits& traits) {
  if (!is_bf16(precision)) return compute_type(precision);
  if (traits.never_bf16) return c10::kFloat;
  return precision == Precision::bf16 && traits.kind == ParameterKind::vector ? c10::kFloat : c10::kBFloat16;
}
// The type of gradients, master weights and moments. The mode bf16_pure has no masters; there it is the type
// of the values.
inline c10::ScalarType state_type(Precision precision, const ParameterTraits& traits) {
  return precision == Precision::bf16_pure ? value_type(precision, traits) : statistics_type(precision);
}

// A named logical tensor inside a stored one: the unit that is counted, initialised, saved, exported and
// named to users.
struct Block {
  std::string name;            // official name, e.g. "layers.0.W_Q.weight"; unique in a model
  std::vector<int64_t> shape;  // logical, 1 to 3 dimensions; a matrix has shape[0] rows, and as many columns
                               // as the product of the other dimensions
  int64_t row = 0;             // its first row within the stored parameter
  Distribution initial;        // drawn with hash64(name) at the logical row-major index

  int64_t rows() const { return shape.front(); }
  int64_t columns() const;
  int64_t numel() const { return rows() * columns(); }
};

// A stored tensor of `rows` x `columns` physical elements (columns = 1 for vectors). It holds blocks one
// above the other, each of them left-aligned. Cells outside every block are padding: they are zero at the
// start, and they stay exactly zero because no gradient ever reaches them. Projections that share their input
// are blocks of one parameter, so that one matrix product serves them all.
struct Parameter {
  std::string name;    // for messages, e.g. "layers.0.projections"
  std::string bucket;  // "embedding", "layers.0", …, "final_norm"
  ParameterTraits traits;
  int64_t rows = 0;
  int64_t columns = 1;
  std::vector<Block> blocks;  // in order of `row`, disjoint

  // parallel::ParameterSpace binds these to views of its flat buffers. Their shape is (rows, columns), or
  // (rows) if columns = 1.
  at::Tensor value;     // value_type(precision, traits); a leaf, which requires grad in training
  at::Tensor gradient;  // state_type(precision, traits); a sum over micro-batches; undefined outside training

  int64_t numel() const { return rows * columns; }          // physical elements
  const Block& block(const std::string& block_name) const;  // throws an internal error if there is none
  // The part of `stored`, a tensor of the shape of `value`, that holds `block`, in its logical shape. This is
  // a view and never a copy; therefore a block of 3 dimensions must be as wide as the parameter.
  at::Tensor view(const at::Tensor& stored, const Block& block) const;
};

// Writes the initial values of the logical elements [begin, end) of `block`, in row-major order, to `out`. An
// element's value does not depend on which range it is drawn with.
void initial_values(const Block& block, uint64_t seed, int64_t begin, int64_t end, double* out);

// The number of logical elements of all blocks.
int64_t count_elements(const std::vector<Parameter*>& parameters);

}  // namespace sisa::common
