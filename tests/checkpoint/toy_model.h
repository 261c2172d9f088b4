// A model of a few hundred parameters with every kind of block, and state whose values are known everywhere.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/parameter.h"
#include "parallel/parameter_space.h"

namespace sisa::tests {

inline constexpr parallel::StateArray all_arrays[] = {
    parallel::StateArray::weights, parallel::StateArray::moment1, parallel::StateArray::moment2};

// The logical elements [begin, end) of a block's weights or moments before any rounding: thirds,
// so that each number type rounds some of them.
inline at::Tensor expected(const std::string& name, parallel::StateArray array, int64_t begin, int64_t end) {
  const auto shift = static_cast<double>(name.size() + 100 * static_cast<size_t>(array));
  return at::arange(begin, end, at::kDouble).div(3).add(shift / 2);
}

struct ToyModel {
  struct Options {
    common::Precision precision = common::Precision::fp32;
    bool sharded = true;
    bool training = true;
    int64_t pad_to = 8;
    int64_t d_model = 10;
    int64_t extra_layers = 0;
    at::Device device = at::kCPU;
  };

  ToyModel(const Options& options, int rank, int world_size)
      : parameters(make_parameters(options)),
        space(pointers(),
              {.precision = options.precision,
               .device = options.device,
               .training = options.training,
               .sharded = options.sharded},
              rank, world_size) {}

  static std::vector<common::Parameter> make_parameters(const Options& o) {
    const auto padded = [&](int64_t n) { return (n + o.pad_to - 1) / o.pad_to * o.pad_to; };
    const auto block = [](const std::string& name, const std::vector<int64_t>& shape, int64_t row = 0) {
      return common::Block{.name = name, .shape = shape, .row = row, .initial = common::constant(0)};
    };
    const auto parameter = [](const std::string& name, const std::string& bucket,
                              const common::ParameterTraits& traits, int64_t rows, int64_t columns,
                              const std::vector<common::Block>& blocks) {
      common::Parameter p;
      p.name = name;
      p.bucket = bucket;
      p.traits = traits;
      p.rows = rows;
      p.columns = columns;
      p.blocks = blocks;
      return p;
    };
    const common::ParameterTraits matrix = {.kind = common::ParameterKind::matrix};
    const common::ParameterTraits vector = {.kind = common::ParameterKind::vector};
    const common::ParameterTraits fp32_vector = {.kind = common::ParameterKind::vector, .never_bf16 = true};
    const int64_t d = o.d_model;
    std::vector<common::Parameter> all{
        parameter("embedding", "embedding", matrix, padded(37), padded(d),
                  {block("embedding.weight", {37, d})}),
        parameter("layers.0.projections", "layers.0", matrix, padded(15), padded(d),
                  {block("layers.0.W_Q.weight", {6, d}), block("layers.0.W_K.weight", {9, d}, 6)}),
        parameter("layers.0.rotation", "layers.0", matrix, 3, 20, {block("layers.0.rotation", {3, 4, 5})}),
        parameter("layers.0.norm", "layers.0", vector, padded(d), 1, {block("layers.0.norm.weight", {d})}),
        parameter("layers.0.lambda", "layers.0", fp32_vector, 3, 1, {block("layers.0.lambda_raw", {3})}),
        parameter("final_norm", "final_norm", vector, padded(d), 1, {block("final_norm.weight", {d})})};
    for (int64_t i = 1; i <= o.extra_layers; ++i) {
      const std::string layer = "layers." + std::to_string(i);
      all.push_back(
          parameter(layer + ".norm", layer, vector, padded(d), 1, {block(layer + ".norm.weight", {d})}));
    }
    return all;
  }

  std::vector<common::Parameter*> pointers() {
    std::vector<common::Parameter*> out;
    for (common::Parameter& p : parameters) out.push_back(&p);
    return out;
  }

  c10::ScalarType state_type(const common::ParameterTraits& traits) const {
    return common::state_type(space.options().precision, traits);
  }

  // Sets everything that this rank owns to its expected values.
  ToyModel& fill() {
    for (const parallel::BlockSlice& p : space.owned_pieces())
      for (const auto array : all_arrays)
        if (array == parallel::StateArray::weights || space.options().training)
          space.write(p, array,
                      expected(p.block->name, array, p.begin, p.end).to(state_type(p.range->traits)));
    space.round_masters();
    return *this;
  }

  // Checks that this rank owns the values with which a model of the precision `saved_as` was filled.
  void expect_filled(common::Precision saved_as, bool moments = true) const {
    for (const parallel::BlockSlice& p : space.owned_pieces())
      for (const auto array : all_arrays) {
        if (array != parallel::StateArray::weights && !(moments && space.options().training)) continue;
        const at::Tensor right = expected(p.block->name, array, p.begin, p.end)
                                     .to(common::state_type(saved_as, p.range->traits))
                                     .to(state_type(p.range->traits));
        EXPECT_TRUE(space.read(p, array).equal(right)) << p.block->name << " from element " << p.begin;
      }
  }

  // Checks that all values with which the model computes are right and that the padding is zero.
  void expect_values(common::Precision saved_as) const {
    for (const common::Parameter& p : parameters) {
      const auto type = common::value_type(space.options().precision, p.traits);
      const at::Tensor value = p.value.detach();
      double sum = 0;
      for (const common::Block& b : p.blocks) {
        const at::Tensor right = expected(b.name, parallel::StateArray::weights, 0, b.numel())
                                     .to(common::state_type(saved_as, p.traits))
                                     .to(state_type(p.traits))
                                     .to(type);
        EXPECT_TRUE(p.view(value, b).reshape(-1).equal(right)) << b.name;
        sum += right.to(at::kDouble).abs().sum().item<double>();
      }
      EXPECT_NEAR(value.to(at::kDouble).abs().sum().item<double>(), sum, 1e-6 * sum) << p.name << ": padding";
    }
  }

  std::vector<common::Parameter> parameters;
  parallel::ParameterSpace space;
};

}  // namespace sisa::tests
