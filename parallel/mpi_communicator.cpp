#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <mpi.h>

#include <algorithm>

#include "common/error.h"
#include "parallel/communicator.h"
#include "parallel/mpi_check.h"

namespace sisa::parallel {
namespace {

// The type in which elements of `type` are added up. MPI has no bf16, which is therefore widened.
at::ScalarType sum_type(at::ScalarType type) {
  return type == at::kBFloat16 ? at::kFloat : type;
}

MPI_Datatype mpi_sum_type(at::ScalarType type) {
  switch (sum_type(type)) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    default:
      TORCH_INTERNAL_ASSERT(false, "sums of ", type, " are not supported");
  }
}

// For copies only the size of an element matters.
MPI_Datatype mpi_copy_type(const at::Tensor& tensor) {
  switch (tensor.element_size()) {
    case 1:
      return MPI_UINT8_T;
    case 2:
      return MPI_UINT16_T;
    case 4:
      return MPI_UINT32_T;
    case 8:
      return MPI_UINT64_T;
    default:
      TORCH_INTERNAL_ASSERT(false, "copies of ", tensor.scalar_type(), " are not supported");
  }
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(const World& world, int64_t max_count)
      : Communicator(world, at::kCPU), max_count_(max_count) {
    TORCH_INTERNAL_ASSERT(max_count >= size());
  }

  void abort() override { world().abort(common::try_again); }

 private:
  void do_reduce_scatter(const at::Tensor& input, const at::Tensor& output) override {
    const at::Tensor rows = input.view({size(), output.numel()});
    for_parts(output.numel(), max_count_ / size(), [&](int64_t begin, int64_t count) {
      // This is a copy only if the tensor is moved in parts or widened.
      const at::Tensor sent = rows.narrow(1, begin, count).to(sum_type(input.scalar_type())).contiguous();
      const at::Tensor received = scratch(sent.options(), count);
      SISA_MPI_CHECK(MPI_Reduce_scatter_block(sent.data_ptr(), received.data_ptr(), static_cast<int>(count),
                                              mpi_sum_type(input.scalar_type()), MPI_SUM, MPI_COMM_WORLD));
      output.view(-1).narrow(0, begin, count).copy_(received);
    });
  }

  void do_all_gather(const at::Tensor& input, const at::Tensor& output) override {
    const at::Tensor rows = output.view({size(), input.numel()});
    const MPI_Datatype type = mpi_copy_type(input);
    const int64_t n = input.numel();
    if (output.numel() <= max_count_) {
      const bool in_place = input.data_ptr() == rows[rank()].data_ptr();
      SISA_MPI_CHECK(MPI_Allgather(in_place ? MPI_IN_PLACE : input.data_ptr(), static_cast<int>(n), type,
                                   output.data_ptr(), static_cast<int>(n), type, MPI_COMM_WORLD));
      return;
    }
    for_parts(n, max_count_ / size(), [&](int64_t begin, int64_t count) {
      const at::Tensor received = scratch(output.options(), size() * count).view({size(), count});
      const at::Tensor sent = input.view(-1).narrow(0, begin, count);
      SISA_MPI_CHECK(MPI_Allgather(sent.data_ptr(), static_cast<int>(count), type, received.data_ptr(),
                                   static_cast<int>(count), type, MPI_COMM_WORLD));
      rows.narrow(1, begin, count).copy_(received);
    });
  }

  void do_all_reduce(const at::Tensor& tensor) override {
    for_parts(tensor.numel(), max_count_, [&](int64_t begin, int64_t count) {
      const at::Tensor part = tensor.view(-1).narrow(0, begin, count);
      const at::Tensor sums = part.to(sum_type(tensor.scalar_type()));  // `part` itself unless it is widened
      SISA_MPI_CHECK(MPI_Allreduce(MPI_IN_PLACE, sums.data_ptr(), static_cast<int>(count),
                                   mpi_sum_type(tensor.scalar_type()), MPI_SUM, MPI_COMM_WORLD));
      if (!sums.is_same(part)) part.copy_(sums);
    });
  }

  void do_broadcast(const at::Tensor& tensor, int root) override {
    for_parts(tensor.numel(), max_count_, [&](int64_t begin, int64_t count) {
      const at::Tensor part = tensor.view(-1).narrow(0, begin, count);
      SISA_MPI_CHECK(
          MPI_Bcast(part.data_ptr(), static_cast<int>(count), mpi_copy_type(tensor), root, MPI_COMM_WORLD));
    });
  }

  // MPI counts elements in an int, so that large tensors are moved in parts.
  template <typename Function>
  static void for_parts(int64_t n, int64_t largest, const Function& call) {
    for (int64_t begin = 0; begin < n; begin += largest) call(begin, std::min(largest, n - begin));
  }

  // Returns `count` elements of a buffer that is kept from call to call.
  at::Tensor scratch(const at::TensorOptions& options, int64_t count) {
    const int64_t bytes = count * static_cast<int64_t>(options.dtype().itemsize());
    if (!scratch_.defined() || scratch_.numel() < bytes) scratch_ = at::empty({bytes}, at::kByte);
    return scratch_.narrow(0, 0, bytes).view(c10::typeMetaToScalarType(options.dtype()));
  }

  int64_t max_count_;
  at::Tensor scratch_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(const World& world, int64_t max_count) {
  return std::make_unique<MpiCommunicator>(world, max_count);
}

}  // namespace sisa::parallel
