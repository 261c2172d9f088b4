#include "common/parameter.h"

#include <c10/util/Exception.h>

#include <cmath>
#include <numbers>

#include "common/hash.h"
#include "common/random.h"

namespace sisa::common {

Distribution normal(double standard_deviation) {
  return [=](double u, double v) {
    return standard_deviation * std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  };
}

Distribution uniform(double low, double high) {
  return [=](double u, double) { return low + (high - low) * u; };
}

Distribution constant(double value) {
  return [=](double, double) { return value; };
}

int64_t Block::columns() const {
  int64_t product = 1;
  for (size_t i = 1; i < shape.size(); ++i) product *= shape[i];
  return product;
}

const Block& Parameter::block(const std::string& block_name) const {
  for (const Block& b : blocks)
    if (b.name == block_name) return b;
  TORCH_INTERNAL_ASSERT(false, "parameter ", name, " has no block ", block_name);
}

at::Tensor Parameter::view(const at::Tensor& stored, const Block& b) const {
  at::Tensor rows_of_block = stored.narrow(0, b.row, b.rows());
  if (columns > 1 || stored.dim() == 2) rows_of_block = rows_of_block.narrow(1, 0, b.columns());
  return b.shape.size() == static_cast<size_t>(rows_of_block.dim()) ? rows_of_block
                                                                    : rows_of_block.view(b.shape);
}

void initial_values(const Block& block, uint64_t seed, int64_t begin, int64_t end, double* out) {
  const RandomStream stream(seed, hash64(block.name));
  for (int64_t i = begin; i < end; ++i) {
    const auto [u, v] = stream.uniforms(static_cast<uint64_t>(i));
    out[i - begin] = block.initial(u, v);
  }
}

int64_t count_elements(const std::vector<Parameter*>& parameters) {
  int64_t count = 0;
  for (const Parameter* p : parameters)
    for (const Block& b : p->blocks) count += b.numel();
  return count;
}

}  // namespace sisa::common
