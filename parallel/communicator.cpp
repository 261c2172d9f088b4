#include "parallel/communicator.h"

namespace sisa::parallel {

std::unique_ptr<Communicator> make_communicator(const World& world, const at::Device& device) {
  return device.is_cuda() ? make_nccl_communicator(world, device) : make_mpi_communicator(world);
}

}  // namespace sisa::parallel
