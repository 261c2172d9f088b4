// What autograd functions of our own share.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#include "common/parameter.h"

namespace sisa::model {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Autograd's contexts keep integers, this one as "parameter"; parameters outlive every graph.
inline int64_t handle(common::Parameter& p) {
  return reinterpret_cast<int64_t>(&p);
}
inline common::Parameter& parameter_of(AutogradContext* context) {
  return *reinterpret_cast<common::Parameter*>(context->saved_data["parameter"].toInt());
}

// (…, columns) -> (rows, columns)
inline at::Tensor as_rows(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

}  // namespace sisa::model
