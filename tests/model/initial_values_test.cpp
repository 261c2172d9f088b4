// Where every tensor of every system begins: as its authors' constructor has it, in mean, spread and bounds.
#include <ATen/TensorOperators.h>
#include <ATen/ops/softplus.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <utility>

#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using model::ModelConfig;

// Sizes that make enough numbers of every kind: 1,024 heads of the state space.
ModelConfig many_heads(const std::string& system) {
  ModelConfig c = small_config(system);
  c.d_model = 64;
  c.settings["d_inner"] = 4096;
  c.settings["head_dim"] = 4;
  c.settings["d_state"] = 64;
  c.settings["num_meta_tokens"] = 64;
  use_system(c, system);
  return c;
}

void expect_moments(const at::Tensor& values, double mean, double deviation, const std::string& name) {
  const auto count = static_cast<double>(values.numel());
  EXPECT_NEAR(values.mean().item<double>(), mean, 5 * deviation / std::sqrt(count)) << name;
  if (count > 100) {
    EXPECT_NEAR(values.std().item<double>() / deviation, 1, 5 / std::sqrt(count)) << name;
  }
}

void expect_uniform(const at::Tensor& values, double low, double high, const std::string& name) {
  expect_moments(values, (low + high) / 2, (high - low) / std::sqrt(12.0), name);
  const double edge = 20 * (high - low) / static_cast<double>(values.numel());
  EXPECT_GE(values.min().item<double>(), low) << name;
  EXPECT_LE(values.max().item<double>(), high) << name;
  EXPECT_LT(values.min().item<double>(), low + edge) << name;
  EXPECT_GT(values.max().item<double>(), high - edge) << name;
}

void expect_all(const at::Tensor& values, double value, const std::string& name) {
  EXPECT_EQ(values.min().item<double>(), value) << name;
  EXPECT_EQ(values.max().item<double>(), value) << name;
}

// The authors' values of a tensor, by the end of its name; false for one that this test does not know.
bool expect_initial(const at::Tensor& x, const std::string& name, const ModelConfig& config) {
  const auto ends = [&](const char* end) { return name.ends_with(end); };
  if (ends("in_proj.weight") || ends("out_proj.weight")) {
    const double bound = 1 / std::sqrt(static_cast<double>(x.size(1)));  // PyTorch's nn.Linear
    if (config.choice("projection_init") == "uniform")
      expect_uniform(x, -bound, bound, name);
    else
      expect_moments(x, 0, 0.02, name);
  } else if (ends("conv1d.weight") || ends("conv1d.bias")) {
    expect_uniform(x, -0.5, 0.5, name);  // PyTorch's nn.Conv1d, of 4 inputs each
  } else if (ends("dt_bias")) {
    expect_uniform(at::softplus(x).log(), std::log(1e-3), std::log(1e-1), name);
  } else if (ends("A_log")) {
    expect_uniform(x.exp(), 1, 16, name);
  } else if (ends(".D") || ends("norm.weight") || ends("B_bias") || ends("C_bias")) {
    expect_all(x, 1, name);
  } else if (ends("forget_proj.bias")) {
    expect_all(x, 0, name);
  } else if (ends("alpha_proj.bias")) {
    expect_all(x, -2, name);  // small_config's
  } else if (ends("lambda_raw")) {
    expect_all(x, -1, name);
  } else if (ends("theta_proj.weight")) {
    expect_moments(x, 0, 0.01, name);
  } else if (ends(".weight") || name == "meta_tokens") {
    expect_moments(x, 0, 0.02, name);
  } else {
    return false;
  }
  return true;
}

class InitialValues : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Systems, InitialValues, testing::ValuesIn(every_system()),
                         [](const auto& test) { return test.param; });

TEST_P(InitialValues, AreTheAuthors) {
  std::vector<ModelConfig> configs = {many_heads(GetParam())};
  if (model::find_system(GetParam()).find_key("projection_init"))
    for (const char* choice : {"uniform", "normal"}) {
      configs.push_back(configs.front());
      configs.back().settings["projection_init"] = choice;
    }
  for (const ModelConfig& config : configs) {
    BoundModel bound(config, common::Precision::fp64);
    for (const std::string& name : bound.names())
      EXPECT_TRUE(expect_initial(bound.value(name), name, config)) << "no rule for " << name;
  }
}

// Whether the authors' uniform values or the hybrids' N(0, 0.02) are the default.
TEST(InitialValuesOfAll, OfMatricesByDefault) {
  for (const char* system : {"mamba2", "mamba3"})
    EXPECT_EQ(model::completed(many_heads(system)).choice("projection_init"), "uniform");
  for (const char* system : {"jamba", "hymba", "falcon_h1"})
    EXPECT_EQ(model::completed(many_heads(system)).choice("projection_init"), "normal");
}

TEST(InitialValuesOfAll, EqualWhereNameShapeAndDistributionAgree) {
  std::map<std::string, std::pair<at::Tensor, std::string>> seen;
  int64_t shared = 0;
  for (const std::string& system : every_system()) {
    BoundModel bound(small_config(system), common::Precision::fp32, 8, 42);
    for (const std::string& name : bound.names()) {
      const at::Tensor value = bound.value(name).clone();
      const auto [place, is_new] = seen.emplace(name, std::pair(value, system));
      const auto& [other, its_system] = place->second;
      // in_proj and out_proj are uniform in some systems and normal in others.
      if (is_new || other.sizes() != value.sizes() || name.find("_proj.weight") != std::string::npos)
        continue;
      EXPECT_TRUE(value.equal(other)) << name << " of " << system << " and " << its_system;
      ++shared;
    }
  }
  EXPECT_GT(shared, 50);
}

}  // namespace
}  // namespace sisa::tests
