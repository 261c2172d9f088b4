#include "model/mixers/state_space_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace sisa::model {

Key d_state_key(int64_t default_value) {
  return {
      .name = "d_state",
      .type = Key::Type::whole,
      .default_value = default_value,
      .low = common::from(2),
      .high = common::to(4096),
      .doc =
          "size of the state: query and key channels that each head of sisa gains, an even number; numbers "
          "that each channel of a state-space layer keeps"};
}

Key d_inner_key() {
  return {.name = "d_inner",
          .type = Key::Type::whole,
          .default_value = int64_t{0},
          .low = common::from(0),
          .high = common::to(1 << 20),
          .doc =
              "channels of a state-space layer, a multiple of head_dim; 0: 2 d_model, with falcon_h1 3/2 "
              "d_model"};
}

Key head_dim_key() {
  return {.name = "head_dim",
          .type = Key::Type::whole,
          .default_value = int64_t{64},
          .low = common::from(1),
          .high = common::to(4096),
          .doc = "channels of a state-space layer that share a decay"};
}

Key chunk_length_key() {
  return {.name = "chunk_length",
          .type = Key::Type::whole,
          .default_value = int64_t{64},
          .low = common::from(1),
          .high = common::to(4096),
          .doc = "tokens that a state-space layer computes at once; decides speed and memory, not the result",
          .exported = false};
}

Key projection_init_key(const std::string& default_value) {
  return {
      .name = "projection_init",
      .type = Key::Type::choice,
      .default_value = default_value,
      .choices = {"uniform", "normal"},
      .doc =
          "initial values of a state-space layer's matrices; uniform: within 1 / sqrt(inputs) of 0, as their "
          "authors have it; normal: N(0, 0.02), as all other matrices",
      .exported = false};
}

common::Distribution projection_init(const ModelConfig& config, int64_t fan_in) {
  if (config.choice("projection_init") == "normal") return common::normal(0.02);
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return common::uniform(-bound, bound);
}

void complete_d_inner(ModelConfig& config, int64_t numerator, int64_t denominator) {
  auto& d_inner = std::get<int64_t>(config.settings.at("d_inner"));
  if (d_inner == 0) d_inner = config.d_model * numerator / denominator;
}

void validate_state_space(const ModelConfig& c) {
  const int64_t d_inner = c.whole("d_inner"), head_dim = c.whole("head_dim");
  if (d_inner < head_dim || d_inner % head_dim != 0)
    throw ConfigError(
        {"d_inner", "head_dim", "d_model"},
        fmt::format("A state-space layer has {} channels (model.d_inner; 0 takes them from "
                    "model.d_model), which model.head_dim = {} does not divide. Choose a multiple.",
                    d_inner, head_dim));
}

common::Distribution time_step_bias() {
  return [](double u, double) {
    constexpr double smallest = 1e-3, largest = 1e-1, floor = 1e-4;
    const double step =
        std::max(floor, std::exp(std::log(smallest) + u * (std::log(largest) - std::log(smallest))));
    return step + std::log(-std::expm1(-step));
  };
}

}  // namespace sisa::model
