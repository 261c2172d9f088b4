// A model with memory behind its parameters, as the trainer has it, on one rank.
#pragma once

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/language_model.h"
#include "model/mixers/mixer.h"
#include "model/mixers/registry.h"
#include "model/operations/attention_shape.h"
#include "parallel/parameter_space.h"

namespace sisa::tests {

// Makes the config one of that system: settings that it does not read are dropped, those it lacks get defaults.
inline void use_system(model::ModelConfig& config, const std::string& system) {
  config.system = system;
  const model::System& row = model::find_system(system);
  std::erase_if(config.settings, [&](const auto& setting) { return !row.find_key(setting.first); });
  config.rate_factors.clear();
  config = model::completed(config);
}

// The systems that a test of all of them runs, those that other tests have added among them.
inline std::vector<std::string> every_system() {
  return model::system_names();
}

// A network that runs in milliseconds, of odd sizes.
inline model::ModelConfig small_config(const std::string& system, double alpha_bias = -2) {
  model::ModelConfig c{.vocab_size = 61, .d_model = 32, .num_layers = 2, .d_ff = 43};
  c.settings = {{"num_heads", 2},
                {"d_state", 6},
                {"alpha_bias", alpha_bias},
                {"d_inner", 64},
                {"head_dim", 16},
                {"chunk_length", 16},
                {"num_kv_heads", 1},
                {"num_meta_tokens", 3},
                {"window", 9},
                {"attention_layers", std::vector<int64_t>{1}},
                {"full_attention_layers", std::vector<int64_t>{0}}};
  use_system(c, system);
  return c;
}

// Attention of as many heads as the query has, each with keys and values of its own.
inline model::AttentionShape shape_of(const at::Tensor& query, double scale) {
  return {.num_heads = query.size(2), .num_kv_heads = query.size(2), .scale = scale};
}

// Of the (token, head) pairs that training has limited; undefined where it counts none.
inline at::Tensor take_limited(model::LanguageModel& model) {
  for (const model::Counter& counter : model.take_counters())
    if (counter.name == "limited_pairs") return counter.count;
  return {};
}

struct BoundModel {
  BoundModel(const model::ModelConfig& config, common::Precision precision, int64_t pad_to = 8,
             uint64_t seed = 1, const at::Device& device = at::kCPU)
      : model(config, precision, pad_to), space(model.parameters(), {precision, device, true, false}, 0, 1) {
    space.initialise(seed);
  }
  // The logical tensor of a named block; writing to it writes to the model.
  at::Tensor value(const std::string& name) { return find(name, false); }
  at::Tensor gradient(const std::string& name) { return find(name, true); }
  std::vector<std::string> names() {
    std::vector<std::string> all;
    for (common::Parameter* p : model.parameters())
      for (const common::Block& block : p->blocks) all.push_back(block.name);
    return all;
  }

  model::LanguageModel model;
  parallel::ParameterSpace space;

 private:
  at::Tensor find(const std::string& name, bool gradient) {
    for (common::Parameter* p : model.parameters())
      for (const common::Block& block : p->blocks)
        if (block.name == name) return p->view(gradient ? p->gradient : p->value.detach(), block);
    throw std::runtime_error("no parameter " + name);
  }
};

// Larger weights than the initial ones, so that every part matters and heads and tokens differ.
inline void stir(BoundModel& bound, double scale = 0.15) {
  at::manual_seed(3);
  for (const std::string& name : bound.names()) {
    const at::Tensor value = bound.value(name);
    value.add_(at::randn(value.sizes(), at::kDouble).mul(scale).to(value.options()));
  }
}

// Nodes of the graph behind `output` whose names contain `part`.
inline int64_t count_nodes(const at::Tensor& output, const std::string& part) {
  std::set<torch::autograd::Node*> seen;
  std::vector<torch::autograd::Node*> todo = {output.grad_fn().get()};
  int64_t count = 0;
  while (!todo.empty()) {
    torch::autograd::Node* const node = todo.back();
    todo.pop_back();
    if (!node || !seen.insert(node).second) continue;
    if (node->name().find(part) != std::string::npos) ++count;
    for (const auto& edge : node->next_edges()) todo.push_back(edge.function.get());
  }
  return count;
}

// Largest difference relative to the largest value of `expected`; infinite for other shapes or NaN.
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) return std::numeric_limits<double>::infinity();
  const at::Tensor a = actual.detach().to(at::kCPU).to(at::kDouble),
                   e = expected.detach().to(at::kCPU).to(at::kDouble);
  const double difference = a.sub(e).abs().max().item<double>();
  const double size = e.abs().max().item<double>();
  return std::isfinite(difference) ? difference / std::max(size, 1e-300)
                                   : std::numeric_limits<double>::infinity();
}

// Expects the gradients of the loss's sum, which the caller has computed with backward(), to be those of finite
// differences, along one random direction for each parameter. The model computes in fp64. `what` names the case.
inline void expect_gradients_of_finite_differences(BoundModel& bound, const at::Tensor& tokens,
                                                   const at::Tensor& targets, const std::string& what) {
  for (const std::string& name : bound.names()) {
    const at::Tensor value = bound.value(name), direction = at::randn(value.sizes(), at::kDouble);
    constexpr double h = 1e-5;
    const auto loss_at = [&](double step) {
      const at::Tensor kept = value.clone();
      value.add_(direction, step);
      const double loss = bound.model.token_losses(tokens, targets).sum().item<double>();
      value.copy_(kept);
      return loss;
    };
    const auto difference = [&](double step) { return (loss_at(step) - loss_at(-step)) / (2 * step); };
    const double numeric = (4 * difference(h) - difference(2 * h)) / 3;  // without the error of third order
    const double analytic = (bound.gradient(name) * direction).sum().item<double>();
    EXPECT_NEAR(analytic, numeric, 1e-6 * std::max(1.0, std::abs(numeric))) << name << " of " << what;
  }
}

}  // namespace sisa::tests
