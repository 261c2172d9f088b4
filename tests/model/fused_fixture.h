// What tests of the fused operations share: the same numbers on a GPU in bf16 and on the CPU in fp64. With
// SISA_EMULATED the CPU plays the GPU (tests/model/emulated).
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "common/parameter.h"
#include "model/operations/fused.h"
#include "tests/model/bound_model.h"
#ifndef SISA_EMULATED
#include "tests/model/gpu.h"
#endif

namespace sisa::tests {

using common::Parameter;
using common::Precision;

// A bf16 number is off by 2^-9 of itself at most; of the largest in a tensor, which relative_error is about.
inline constexpr double one_rounding = 0.004;

#ifdef SISA_EMULATED
inline constexpr bool emulated = true;
struct OnGpu : testing::Test {
  const at::Device gpu_ = at::kCPU;
};
#else
inline constexpr bool emulated = false;
#endif

struct Fused : OnGpu {
  void TearDown() override { model::fused::set_enabled(true); }

  // The same parameter twice: in bf16 (vectors in fp32) on the GPU, and in fp64 on the CPU.
  struct Twice {
    Parameter gpu, cpu;
  };
  Twice parameter(const at::Tensor& value) const {
    const at::ScalarType type = value.dim() == 2 ? at::kBFloat16 : at::kFloat;
    const auto make = [&](const at::Tensor& v, at::ScalarType gradient_type) {
      Parameter p{.name = "p", .bucket = "b", .rows = v.size(0), .columns = v.dim() == 2 ? v.size(1) : 1};
      p.value = v.clone().set_requires_grad(true);
      p.gradient = at::zeros(v.sizes(), v.options().dtype(gradient_type).requires_grad(false));
      return p;
    };
    const at::Tensor rounded = value.to(type);
    return {make(rounded.to(gpu_), at::kFloat), make(rounded.to(at::kDouble), at::kDouble)};
  }
  at::Tensor on_gpu(const at::Tensor& x) const {
    return x.to(at::kBFloat16).to(gpu_).clone().set_requires_grad(true);
  }
  static at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kDouble); }
  static at::Tensor on_cpu(const at::Tensor& x) { return rounded(x).clone().set_requires_grad(true); }
};

}  // namespace sisa::tests
