#include <c10/cuda/CUDAException.h>
#include <cuda_runtime_api.h>

#include "launcher/run/gpu_name.h"

namespace sisa::launcher {

std::string gpu_name(const at::Device& device) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device.index()));
  return properties.name;
}

}  // namespace sisa::launcher
