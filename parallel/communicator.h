// Collectives over tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <climits>
#include <cstdint>
#include <memory>

#include "parallel/world.h"

namespace sisa::parallel {

// Sums and copies of tensors between all ranks of a World, which must outlive the communicator.
//
// Rules. All members except rank, size, abort and throw_if_failed are collective: every rank calls them in
// the same order, from its main thread, with equal sizes and types. Tensors are contiguous and on this
// communicator's device. Calls are ordered with the device's current stream: a kernel that was launched
// before a call feeds it, and one that is launched after it sees its result; the host does not wait. Between
// group_begin and group_end calls may be merged into one launch, so that no result may be read inside the
// group.
//
//   communicator.reduce_scatter(gradients, owned);  // owned: the rank-th of size() equal slices
//   communicator.all_gather(owned_values, values);
//
// Failure. A rank that has died, hangs or is merely late makes the others wait, and no wait here has a
// time-out:
// - Over MPI every collective may block for ever.
// - Over NCCL a collective usually only starts work on the device and returns. It may block for ever while
//   the ranks connect, which happens in the constructor and in the first calls. Otherwise the host blocks
//   later, where it waits for the device; results are therefore read by to_host.
// World::collective_status tells any thread which of these calls a rank is in.
//
// A call that fails at once throws SystemError with the call, the rank, the host and the library's text. NCCL
// also finds failures later, such as a broken network link, but not the death of a process on the same host.
// Every collective and to_host look for such a failure and throw it; throw_if_failed does nothing else. After
// any error the communicator may only be aborted or destroyed.
//
// A wait without end is ended from outside. mpirun sends SIGTERM to all ranks when one of them dies, and
// launcher::SignalWatch then ends a process that does not answer. Besides, another thread may call abort.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return world_.rank(); }
  int size() const { return world_.size(); }

  // output (n) = the rank-th slice of the sum over ranks of input (size() * n). `output` may be that very
  // slice of `input`; the rest of `input` is then unspecified. If the library has no bf16, bf16 is summed in
  // fp32 and rounded once.
  void reduce_scatter(const at::Tensor& input, const at::Tensor& output);
  // output (size() * n) = the inputs (n) of all ranks in order of rank. `input` may be the rank-th slice of
  // `output`.
  void all_gather(const at::Tensor& input, const at::Tensor& output);
  void all_reduce(const at::Tensor& tensor);  // sum, in place
  void broadcast(const at::Tensor& tensor, int root);
  virtual void group_begin() {}
  void group_end();

  // Returns a copy of `tensor` on the CPU, or `tensor` itself if it is there. Waits for all that the device
  // has to do before, other ranks included, and throws if a collective has failed meanwhile, since the values
  // would be meaningless.
  at::Tensor to_host(const at::Tensor& tensor);

  // Throws SystemError with the rank, the host and the library's text if an earlier call has failed since or
  // if the communicator was aborted. Takes no time worth mentioning. Over MPI there are no such failures.
  virtual void throw_if_failed() {}

  // Ends a wait. May be called from any thread, typically while the main thread is blocked. The caller makes
  // sure that the communicator is not destroyed meanwhile, and that the main thread has been waiting for
  // long: NCCL allows no other call to begin at the same time.
  // - Over NCCL: stops this rank's work on the device, so that the main thread goes on, and releases the
  //   communicator, whose later calls throw. NCCL may wait here until all ranks of the host have aborted, so
  //   the caller must be ready to end the process by other means.
  // - Over MPI, which cannot stop a collective: ends all processes of the run with exit status 75 (try
  //   again), as World::abort does. Does not return.
  virtual void abort() = 0;

 protected:
  Communicator(const World& world, const at::Device& device) : world_(world), device_(device) {}
  const World& world() const { return world_; }
  const at::Device& device() const { return device_; }

 private:
  // What each library does. The tensors have been checked, and the call has been entered in
  // collective_status.
  virtual void do_reduce_scatter(const at::Tensor& input, const at::Tensor& output) = 0;
  virtual void do_all_gather(const at::Tensor& input, const at::Tensor& output) = 0;
  virtual void do_all_reduce(const at::Tensor& tensor) = 0;
  virtual void do_broadcast(const at::Tensor& tensor, int root) = 0;
  virtual void do_group_end() {}

  void require_usable(const at::Tensor& tensor) const;
  void require_slice(const at::Tensor& slice, const at::Tensor& whole) const;

  const World& world_;
  at::Device device_;
};

// CPU tensors over MPI. One MPI call moves at most max_count elements, which must be at least size(); larger
// tensors are moved in parts.
std::unique_ptr<Communicator> make_mpi_communicator(const World& world, int64_t max_count = INT_MAX);
// CUDA tensors over NCCL, with one process per GPU; `device` has an index. Throws Error, on every rank, if
// two ranks share a GPU (which is recognised by host and PCI id), if the loaded NCCL is not the one of this
// build, or if this build has no CUDA. Collective.
std::unique_ptr<Communicator> make_nccl_communicator(const World& world, const at::Device& device);
// The communicator for the device. Collective.
std::unique_ptr<Communicator> make_communicator(const World& world, const at::Device& device);

}  // namespace sisa::parallel
