#include "launcher/run/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <array>
#include <cstdlib>
#include <optional>

#include "common/error.h"
#include "common/text.h"
#include "common/waiting.h"
#include "launcher/run/gpu_name.h"
#include "model/operations/fused.h"

namespace sisa::launcher {
namespace {

at::Device open_gpu(const parallel::World& world) {
  if (!at::globalContext().hasCUDA())
    throw Error(
        "This build or this host has no CUDA device (host {}), but the recipe says run.device: cuda. Run "
        "`sisa doctor`, or "
        "train on the CPU with --set run.device=cpu.",
        world.host());
  const c10::impl::DeviceGuardImplInterface* guard = c10::impl::getDeviceGuardImpl(at::kCUDA);
  const auto count = static_cast<int>(guard->deviceCount());
  if (count == 0)
    throw Error(
        "Host {} shows no GPU to rank {}, but the recipe says run.device: cuda. Check nvidia-smi and "
        "CUDA_VISIBLE_DEVICES.",
        world.host(), world.rank());
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(world.local_rank() % count));
  guard->setDevice(device);
  return device;
}

}  // namespace

at::Device open_device(const RunSection& run, const parallel::World& world) {
  at::set_num_threads(run.threads > 0 ? static_cast<int>(run.threads) : world.core_share());
  at::Context& context = at::globalContext();
  context.setAllowTF32CuBLAS(false);
  context.setAllowTF32CuDNN(false);
  context.setAllowBF16ReductionCuBLAS(false);
  model::fused::set_enabled(run.fused);
  if (run.device != "cuda") {
    static std::optional<common::AdaptiveWaiting> waiting;  // until the process ends, or another call
    waiting.reset();
    if (at::get_num_threads() > 1) waiting.emplace(at::get_num_threads() > world.core_share());
    return at::kCPU;
  }
  if (run.determinism == Determinism::strict) {
    // All sums are in a fixed order, also those of attention (model/operations/attention.cpp). Operations
    // that have no deterministic implementation refuse to run.
    context.setDeterministicAlgorithms(true, /*warn_only=*/false);
    context.setDeterministicFillUninitializedMemory(false);         // we read none
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // a workspace of its own for each stream
  }
  return open_gpu(world);
}

std::string device_name(const at::Device& device) {
  return device.is_cuda() ? gpu_name(device) : "CPU, " + common::counted(at::get_num_threads(), "thread");
}

std::optional<double> peak_flops(const std::string& name, common::Precision precision) {
  struct Peak {
    const char* part_of_name;  // the longer of two that fit comes first
    double bf16, fp32;         // FLOP/s, dense, from the makers' data sheets
  };
  static constexpr std::array table = {Peak{"H100 PCIe", 756e12, 51e12}, Peak{"H100 NVL", 835e12, 60e12},
                                       Peak{"H100", 989.4e12, 66.9e12},  Peak{"H200", 989.4e12, 66.9e12},
                                       Peak{"B200", 2250e12, 75e12},     Peak{"A100", 312e12, 19.5e12},
                                       Peak{"L40S", 362e12, 91.6e12},    Peak{"L4", 121e12, 30.3e12},
                                       Peak{"4090", 165.2e12, 82.6e12},  Peak{"3090", 71e12, 35.6e12}};
  for (const Peak& peak : table)
    if (name.find(peak.part_of_name) != std::string::npos)
      return common::is_bf16(precision) ? peak.bf16 : peak.fp32;
  return std::nullopt;
}

}  // namespace sisa::launcher
