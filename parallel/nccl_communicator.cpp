#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <mutex>

#include "common/error.h"
#include "parallel/communicator.h"

namespace sisa::parallel {
namespace {

ncclDataType_t sum_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kLong:
      return ncclInt64;
    default:
      TORCH_INTERNAL_ASSERT(false, "sums of ", tensor.scalar_type(), " are not supported");
  }
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const World& world, const at::Device& device) : Communicator(world, device) {
    std::string gpu;
    world.together([&] {
      check_version();
      gpu = fmt::format("{} on host {}", pci_id(), world.host());
    });
    const std::vector<std::string> gpus = world.all_gather(gpu);
    for (auto second = gpus.begin(); second != gpus.end(); ++second) {
      const auto first = std::find(gpus.begin(), second, *second);
      if (first != second)
        throw SharedError(fmt::format(
            "Ranks {} and {} share the GPU {}, but each rank needs a GPU of its own. Start at most as many "
            "ranks on a host as it has GPUs, and look at CUDA_VISIBLE_DEVICES if it has enough.",
            first - gpus.begin(), second - gpus.begin(), *second));
    }

    std::string id_bytes(sizeof(ncclUniqueId), '\0');
    auto& id = *reinterpret_cast<ncclUniqueId*>(id_bytes.data());
    world.together([&] {
      if (world.is_root()) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    });
    world.broadcast(id_bytes);
    const c10::cuda::CUDAGuard guard(device);
    const CollectiveStatus::Scope scope(world.collective_status(), "connect");
    check(ncclCommInitRank(&communicator_, size(), id, rank()), "ncclCommInitRank");
  }

  ~NcclCommunicator() override {
    // After a failure NCCL might wait here for ranks that are gone, and the process is about to end anyway.
    if (communicator_ != nullptr && !failed_) ncclCommDestroy(communicator_);  // a destructor cannot report
  }

  void group_begin() override { check(ncclGroupStart(), "ncclGroupStart"); }

  void throw_if_failed() override {
    const std::lock_guard lock(mutex_);
    if (aborted_)
      throw SystemError(
          fmt::format("The NCCL communicator of {} was aborted, so its results are void.", place()));
    ncclResult_t earlier = ncclSuccess;
    check(ncclCommGetAsyncError(communicator_, &earlier), "ncclCommGetAsyncError");
    if (earlier != ncclInProgress) check(earlier, "An earlier NCCL call");
  }

  void abort() override {
    {
      const std::lock_guard lock(mutex_);
      if (aborted_) return;
      aborted_ = failed_ = true;
    }
    const c10::cuda::CUDAGuard guard(device());  // of this thread
    check(ncclCommAbort(communicator_), "ncclCommAbort");
  }

 private:
  void do_reduce_scatter(const at::Tensor& input, const at::Tensor& output) override {
    check(ncclReduceScatter(input.data_ptr(), output.data_ptr(), static_cast<size_t>(output.numel()),
                            sum_type(input), ncclSum, communicator_, stream()),
          "ncclReduceScatter");
  }

  void do_all_gather(const at::Tensor& input, const at::Tensor& output) override {
    check(ncclAllGather(input.data_ptr(), output.data_ptr(), input.nbytes(), ncclUint8, communicator_,
                        stream()),
          "ncclAllGather");
  }

  void do_all_reduce(const at::Tensor& tensor) override {
    check(ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), static_cast<size_t>(tensor.numel()),
                        sum_type(tensor), ncclSum, communicator_, stream()),
          "ncclAllReduce");
  }

  void do_broadcast(const at::Tensor& tensor, int root) override {
    check(ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.nbytes(), ncclUint8, root, communicator_,
                        stream()),
          "ncclBroadcast");
  }

  void do_group_end() override { check(ncclGroupEnd(), "ncclGroupEnd"); }

  // "rank 1 (host, cuda:0)", for messages.
  std::string place() const {
    return fmt::format("rank {} ({}, {})", rank(), world().host(), device().str());
  }
  void check(ncclResult_t result, const char* call) {
    if (result == ncclSuccess) return;
    failed_ = true;
    fail(call, result, ncclGetErrorString(result), ncclGetLastError(nullptr));
  }
  [[noreturn]] void fail(const char* call, int code, const char* meaning, const char* detail) const {
    throw SystemError(
        fmt::format("{} failed on {} with code {}: {}. {} NCCL_DEBUG=INFO in the environment shows more.",
                    call, place(), code, meaning, detail));
  }

  void check_version() {
    int version = 0;  // 10000 major + 100 minor + patch
    check(ncclGetVersion(&version), "ncclGetVersion");
    if (version / 100 != NCCL_MAJOR * 100 + NCCL_MINOR)
      throw Error(
          "This program was built with the headers of NCCL {}.{} but has loaded NCCL {}.{}. Remove the other "
          "NCCL from LD_LIBRARY_PATH and LD_PRELOAD, or build again with -DNCCL_ROOT set to the one in use.",
          NCCL_MAJOR, NCCL_MINOR, version / 10000, version / 100 % 100);
  }

  std::string pci_id() const {
    char id[32] = "";
    const cudaError_t result = cudaDeviceGetPCIBusId(id, sizeof(id), device().index());
    if (result != cudaSuccess) fail("cudaDeviceGetPCIBusId", result, cudaGetErrorString(result), "");
    return id;
  }

  cudaStream_t stream() const { return c10::cuda::getCurrentCUDAStream(device().index()); }

  ncclComm_t communicator_ = nullptr;
  // Keeps throw_if_failed from asking NCCL about a communicator that `abort` has released. Held for moments
  // only, and never during a call that waits for other ranks or for the device, so that `abort` cannot be
  // blocked.
  std::mutex mutex_;
  bool aborted_ = false;
  std::atomic<bool> failed_ = false;  // by an error of NCCL or by `abort`
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(const World& world, const at::Device& device) {
  return std::make_unique<NcclCommunicator>(world, device);
}

}  // namespace sisa::parallel
