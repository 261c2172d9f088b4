// What tests on a GPU share.
#pragma once

#include <ATen/Context.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <gtest/gtest.h>

namespace sisa::tests {

// Skipped where there is no GPU. fp32 means fp32, as in the program.
class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::globalContext().hasCUDA() || c10::impl::getDeviceGuardImpl(at::kCUDA)->deviceCount() == 0)
      GTEST_SKIP() << "no GPU";
    at::globalContext().setAllowTF32CuBLAS(false);
    at::globalContext().setAllowBF16ReductionCuBLAS(false);
  }
  const at::Device gpu_{at::kCUDA, 0};
};

}  // namespace sisa::tests
