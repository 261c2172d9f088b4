// Collectives over tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <climits>
#include <cstdint>
#include <memory>

#include "parallel/world.h"

namespace sisa::parallel {

// Sums and copies of tensors between all ranks of a World.
//
// Rules. All members are collective: every rank calls them in the same order, from the main thread, with
// equal sizes and types. Tensors are contiguous and on this communicator's device. Calls are ordered with the
// device's current stream, so a kernel launched before a call feeds it and one launched after sees its
// result; the host does not wait. Between group_begin and group_end calls may be merged into one launch: no
// result is to be read inside the group.
//
//   communicator.reduce_scatter(gradients, owned);  // owned: the rank-th of size() equal slices
//   communicator.all_gather(owned_values, values);
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // output (n) = the rank-th slice of the sum over ranks of input (size() * n). `output` may be that very
  // slice of `input`; the rest of `input` is then unspecified. bf16 is summed in fp32 where the library has
  // no bf16 and rounded once.
  virtual void reduce_scatter(const at::Tensor& input, const at::Tensor& output) = 0;
  // output (size() * n) = all ranks' inputs (n) in order of rank. `input` may be the rank-th slice of
  // `output`.
  virtual void all_gather(const at::Tensor& input, const at::Tensor& output) = 0;
  virtual void all_reduce(const at::Tensor& tensor) = 0;  // sum, in place
  virtual void broadcast(const at::Tensor& tensor, int root) = 0;
  virtual void group_begin() {}
  virtual void group_end() {}
};

// CPU tensors over MPI. max_count: elements that one MPI call moves at most, >= size(); larger tensors go in
// parts.
std::unique_ptr<Communicator> make_mpi_communicator(const World& world, int64_t max_count = INT_MAX);
// CUDA tensors over NCCL, one process a GPU; `device` has an index. Throws Error, on every rank, if two ranks
// share a GPU (checked by host and PCI id), if another NCCL than the one of this build is loaded or if this
// build has no CUDA. Collective.
std::unique_ptr<Communicator> make_nccl_communicator(const World& world, const at::Device& device);
// The one that fits the device.
std::unique_ptr<Communicator> make_communicator(const World& world, const at::Device& device);

}  // namespace sisa::parallel
