// Replaces nccl_communicator.cpp and adamw.cu in a build without CUDA.
#include <c10/util/Exception.h>

#include "common/error.h"
#include "parallel/adamw_kernels.h"
#include "parallel/communicator.h"

namespace sisa::parallel {

std::unique_ptr<Communicator> make_nccl_communicator(const World&, const at::Device& device) {
  throw Error(
      "The device {} was asked for, but this program was built without CUDA. Build it where a CUDA compiler "
      "(nvcc) is found, or use the CPU (run: device: cpu).",
      device.str());
}

void adamw_update_cuda(const AdamWSlice&, const AdamWStep<double>&, void*) {
  TORCH_INTERNAL_ASSERT(false, "a CUDA tensor in a build without CUDA");
}

void sum_of_squares_cuda(Number, const void*, int64_t, double*, void*) {
  TORCH_INTERNAL_ASSERT(false, "a CUDA tensor in a build without CUDA");
}

}  // namespace sisa::parallel
