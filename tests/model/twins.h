// "This kernel equals these composed operations", in both directions: how every kernel is compared with its
// definition, on any device.
//
// SISA_TWINS_REPORT=1 prints, when the program ends, the worst error of every group of cases.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/parameter.h"
#include "common/precision.h"

namespace sisa::tests {

// What an input is decides its number type in each precision (see common/precision.h).
enum class Role {
  activation,  // compute_type
  statistic,   // statistics_type
  matrix,      // a common::Parameter of this group; its gradient is what Parameter::gradient has gained
  vector,      // likewise
  constant,    // passed on as it is, without a gradient: ids
};

struct Input {
  std::string name;
  Role role;
  at::Tensor value;  // fp64 on the CPU; rounded to the type of its role
};

// What one run of a function gets: leaves that require grad.
class Arguments {
 public:
  Arguments(common::Precision precision, const at::Device& device) : precision_(precision), device_(device) {}

  const at::Tensor& operator[](const std::string& name) const { return at(name).parameter.value; }
  common::Parameter& parameter(const std::string& name) { return at(name).parameter; }
  common::Precision precision() const { return precision_; }
  at::ScalarType compute() const { return common::compute_type(precision_); }
  at::ScalarType statistics() const { return common::statistics_type(precision_); }
  const at::Device& device() const { return device_; }

 private:
  friend class Twins;
  struct Slot {
    Role role;
    common::Parameter parameter;  // of other inputs than matrices and vectors only the value is used
  };
  Slot& at(const std::string& name) { return slots_.at(name); }
  const Slot& at(const std::string& name) const { return slots_.at(name); }
  void add(const Input& input);

  common::Precision precision_;
  at::Device device_;
  std::map<std::string, Slot> slots_;
};

using Outputs = std::vector<std::pair<std::string, at::Tensor>>;
using Function = std::function<Outputs(Arguments&)>;

// Allowed errors, relative to a tensor's largest value.
struct Tolerance {
  double forward;
  double backward;
};

// A kernel and the same in composed operations: twins.
class Twins {
 public:
  // `kernel` may use Arguments::parameter; `composed` only tensors, since ordinary autograd differentiates
  // it.
  Twins(std::string group, Function kernel, Function composed,
        std::map<common::Precision, Tolerance> tolerances)
      : group_(std::move(group)),
        kernel_(std::move(kernel)),
        composed_(std::move(composed)),
        tolerances_(std::move(tolerances)) {}

  // Runs the kernel in `precision` and its twin in fp64, both on `device` and on the same values: `inputs` as
  // the kernel gets them, rounded. Expects equal outputs and, under one random cotangent of each output,
  // equal gradients of every input. `sizes` names the case. An exact gradient of zero (that of a query that
  // sees one key) has no size of its own: it is compared with the largest gradient of the case.
  void compare(const std::string& sizes, const std::vector<Input>& inputs, common::Precision precision,
               const at::Device& device = at::kCPU) const;
  // In every precision that has a tolerance.
  void compare(const std::string& sizes, const std::vector<Input>& inputs) const;

 private:
  std::string group_;
  Function kernel_, composed_;
  std::map<common::Precision, Tolerance> tolerances_;
};

// For the report: of all calls for one `group` the worst `error` by itself, with what is allowed and where it
// was.
void report_error(const std::string& group, double error, double allowed, const std::string& where);

std::string name_of(common::Precision precision);

}  // namespace sisa::tests
