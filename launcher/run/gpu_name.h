// Defined in gpu_name_cuda.cpp, and for builds without CUDA in gpu_name_none.cpp.
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace sisa::launcher {
std::string gpu_name(const at::Device& device);
}  // namespace sisa::launcher
