// The device that this process computes on.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <string>

#include "common/precision.h"
#include "launcher/recipe/recipe.h"
#include "parallel/world.h"

namespace sisa::launcher {

// Chooses this rank's device (`cpu`; or `cuda`: the local rank modulo the GPUs that it sees, so that one GPU
// per process works with and without a per-process CUDA_VISIBLE_DEVICES), makes it current and fixes what
// numerics depend on: run.threads per rank (0: cores of the host / ranks on it, at least 1), TF32 and
// reduced-precision GEMM reductions off, kernels of our own as run.fused says, and for run.determinism:
// strict on cuda LibTorch's deterministic algorithms, for the rest of the process. Throws Error where there
// is no such device.
at::Device open_device(const RunSection& run, const parallel::World& world);

// "NVIDIA H100 80GB HBM3", or "CPU, 2 threads".
std::string device_name(const at::Device& device);

// Dense peak in FLOP/s for the precision's matrix products; absent for devices not in the table.
std::optional<double> peak_flops(const std::string& device_name, common::Precision precision);

}  // namespace sisa::launcher
