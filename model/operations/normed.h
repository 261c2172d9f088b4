// What a norm with a residual stream before it returns.
#pragma once

#include <ATen/core/Tensor.h>

namespace sisa::model {

struct Normed {
  at::Tensor sum, normed;
};

}  // namespace sisa::model
