#include "parallel/communicator.h"

#include <c10/util/Exception.h>

#include "parallel/collective_status.h"

namespace sisa::parallel {

using Scope = CollectiveStatus::Scope;

void Communicator::reduce_scatter(const at::Tensor& input, const at::Tensor& output) {
  const Scope scope(world_.collective_status(), "reduce_scatter");
  require_slice(output, input);
  throw_if_failed();
  do_reduce_scatter(input, output);
}

void Communicator::all_gather(const at::Tensor& input, const at::Tensor& output) {
  const Scope scope(world_.collective_status(), "all_gather");
  require_slice(input, output);
  throw_if_failed();
  do_all_gather(input, output);
}

void Communicator::all_reduce(const at::Tensor& tensor) {
  const Scope scope(world_.collective_status(), "all_reduce");
  require_usable(tensor);
  throw_if_failed();
  do_all_reduce(tensor);
}

void Communicator::broadcast(const at::Tensor& tensor, int root) {
  const Scope scope(world_.collective_status(), "broadcast");
  require_usable(tensor);
  throw_if_failed();
  do_broadcast(tensor, root);
}

void Communicator::group_end() {
  const Scope scope(world_.collective_status(), "group_end");
  throw_if_failed();
  do_group_end();
}

at::Tensor Communicator::to_host(const at::Tensor& tensor) {
  const Scope scope(world_.collective_status(), "to_host");
  const at::Tensor on_host = tensor.to(at::kCPU);
  throw_if_failed();
  return on_host;
}

void Communicator::require_usable(const at::Tensor& tensor) const {
  TORCH_INTERNAL_ASSERT(tensor.device() == device_ && tensor.is_contiguous());
}

void Communicator::require_slice(const at::Tensor& slice, const at::Tensor& whole) const {
  require_usable(slice);
  require_usable(whole);
  TORCH_INTERNAL_ASSERT(slice.numel() * size() == whole.numel() &&
                        slice.scalar_type() == whole.scalar_type());
}

std::unique_ptr<Communicator> make_communicator(const World& world, const at::Device& device) {
  return device.is_cuda() ? make_nccl_communicator(world, device) : make_mpi_communicator(world);
}

}  // namespace sisa::parallel
