#include <c10/util/Exception.h>

#include "launcher/run/gpu_name.h"

namespace sisa::launcher {

std::string gpu_name(const at::Device& device) {
  TORCH_INTERNAL_ASSERT(false, "no GPU in this build: ", device);
}

}  // namespace sisa::launcher
