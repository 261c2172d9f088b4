#include "tests/model/twins.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <sstream>

#include "common/precision_names.h"

namespace sisa::tests {
namespace {

using common::Precision;

struct Worst {
  double error, allowed;
  std::string where;
};

class Report final : public testing::Environment {
 public:
  void TearDown() override {
    if (!std::getenv("SISA_TWINS_REPORT")) return;
    for (const auto& [group, worst] : worst_)
      std::cout << fmt::format("{:<56} {:8.2e} of {:8.2e} allowed, {}\n", group, worst.error, worst.allowed,
                               worst.where);
  }
  std::map<std::string, Worst> worst_;
};
// Owned by the test framework.
Report* const report = dynamic_cast<Report*>(testing::AddGlobalTestEnvironment(new Report));

// A kernel adds to what earlier micro-batches left in a parameter's gradient.
constexpr double earlier_gradient = 0.5;
// A tensor this much smaller than the largest of its case is a zero up to rounding.
constexpr double vanishing = 1e-9;

bool is_parameter(Role role) {
  return role == Role::matrix || role == Role::vector;
}

std::string text(const at::IntArrayRef& numbers) {
  std::ostringstream out;
  out << numbers;
  return out.str();
}

std::vector<int64_t> position(int64_t index, const at::IntArrayRef& sizes) {
  std::vector<int64_t> result(sizes.size());
  for (size_t i = sizes.size(); i-- > 0; index /= sizes[i]) result[i] = index % sizes[i];
  return result;
}

double largest(const at::Tensor& x) {
  return x.numel() == 0 ? 0 : x.abs().max().item<double>();
}

struct Comparison {
  std::string group;   // of the report
  std::string tensor;  // as messages call it
  at::Tensor actual, expected;
  double allowed;
};

// All tensors of one direction. `subject`: kernel, precision and sizes.
void judge(const std::string& subject, const std::vector<Comparison>& all) {
  double largest_of_all = 0;
  for (const Comparison& c : all) largest_of_all = std::max(largest_of_all, largest(c.expected));
  for (const auto& [group, tensor, actual, expected, allowed] : all) {
    if (!actual.defined() || actual.sizes() != expected.sizes()) {
      ADD_FAILURE() << subject << ": " << tensor << " "
                    << (actual.defined() ? "has shape " + text(actual.sizes()) : "was never computed")
                    << "; expected shape " << text(expected.sizes());
      continue;
    }
    if (expected.numel() == 0) continue;
    const at::Tensor a = actual.to(at::kDouble), difference = (a - expected).abs().flatten();
    const int64_t worst = difference.argmax().item<int64_t>();  // of a NaN, if there is one
    double size = largest(expected);
    if (size <= vanishing * largest_of_all) size = largest_of_all;
    double error = difference[worst].item<double>() / std::max(size, std::numeric_limits<double>::min());
    if (!std::isfinite(error)) error = std::numeric_limits<double>::infinity();
    report_error(group, error, allowed, subject + ": " + tensor);
    EXPECT_LE(error, allowed) << subject << ": " << tensor << " is worst at "
                              << text(position(worst, expected.sizes())) << ": "
                              << a.flatten()[worst].item<double>() << " instead of "
                              << expected.flatten()[worst].item<double>() << ". Its largest value is "
                              << size;
  }
}

}  // namespace

std::string name_of(Precision precision) {
  return std::string(common::precision_name(precision));
}

void report_error(const std::string& group, double error, double allowed, const std::string& where) {
  const auto [entry, is_new] = report->worst_.try_emplace(group, Worst{error, allowed, where});
  if (!is_new && error > entry->second.error) entry->second = {error, allowed, where};
}

void Arguments::add(const Input& input) {
  using enum common::ParameterKind;
  const common::ParameterTraits traits = {.kind = input.role == Role::vector ? vector : matrix};
  Slot slot{input.role, {.name = input.name, .bucket = "twins", .traits = traits}};
  common::Parameter& p = slot.parameter;
  if (input.role == Role::constant) {
    p.value = input.value.to(device_);
  } else {
    const at::ScalarType type = is_parameter(input.role)        ? common::value_type(precision_, traits)
                                : input.role == Role::statistic ? statistics()
                                                                : compute();
    p.value = input.value.detach().to(device_).to(type, /*non_blocking=*/false, /*copy=*/true);
    p.value.set_requires_grad(true);
  }
  if (is_parameter(input.role)) {
    p.rows = input.value.size(0);
    p.columns = input.value.dim() > 1 ? input.value.size(1) : 1;
    p.gradient =
        at::full(p.value.sizes(), earlier_gradient,
                 p.value.options().dtype(common::state_type(precision_, traits)).requires_grad(false));
  }
  slots_.emplace(input.name, std::move(slot));
}

void Twins::compare(const std::string& sizes, const std::vector<Input>& inputs, Precision precision,
                    const at::Device& device) const {
  Arguments arguments(precision, device), twin_arguments(Precision::fp64, device);
  for (const Input& input : inputs) {
    arguments.add(input);
    Input rounded = input;
    if (input.role != Role::constant) rounded.value = arguments[input.name].detach().to(at::kDouble);
    twin_arguments.add(rounded);
  }
  const Outputs outputs = kernel_(arguments), twin_outputs = composed_(twin_arguments);

  const Tolerance& tolerance = tolerances_.at(precision);
  const std::string group = group_ + " " + name_of(precision), subject = group + ", " + sizes;
  ASSERT_EQ(outputs.size(), twin_outputs.size()) << subject;
  std::vector<Comparison> forward, backward;
  std::vector<at::Tensor> ends, twin_ends, cotangents, twin_cotangents;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto& [name, output] = outputs[i];
    const at::Tensor& twin = twin_outputs[i].second;
    forward.push_back({group + " forward", name, output.detach(), twin.detach(), tolerance.forward});
    if (!twin.requires_grad()) continue;
    ends.push_back(output);
    twin_ends.push_back(twin);
    cotangents.push_back(at::randn(twin.sizes(), at::kDouble).to(device).to(output.scalar_type()));
    twin_cotangents.push_back(cotangents.back().to(at::kDouble));
  }
  judge(subject, forward);
  for (const Comparison& c : forward)
    if (c.actual.sizes() != c.expected.sizes()) return;  // has been said, and has no backward pass

  torch::autograd::backward(ends, cotangents);
  torch::autograd::backward(twin_ends, twin_cotangents);
  for (const auto& [name, role, value] : inputs) {
    if (role == Role::constant) continue;
    const common::Parameter& p = arguments.parameter(name);
    if (is_parameter(role) && p.value.grad().defined()) {
      ADD_FAILURE() << subject << ": the gradient of " << name
                    << " went to its value and not to Parameter::gradient";
      continue;
    }
    backward.push_back({group + " backward", "the gradient of " + name,
                        is_parameter(role) ? p.gradient - earlier_gradient : p.value.grad(),
                        twin_arguments[name].grad(), tolerance.backward});
  }
  judge(subject, backward);
}

void Twins::compare(const std::string& sizes, const std::vector<Input>& inputs) const {
  for (const auto& [precision, tolerance] : tolerances_) compare(sizes, inputs, precision);
}

}  // namespace sisa::tests
