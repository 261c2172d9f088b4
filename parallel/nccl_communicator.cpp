#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>

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
  NcclCommunicator(const World& world, const at::Device& device)
      : rank_(world.rank()), size_(world.size()), host_(world.host()), device_(device) {
    std::string gpu;
    world.together([&] {
      check_version();
      gpu = fmt::format("{} on host {}", pci_id(), host_);
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
    const c10::cuda::CUDAGuard guard(device_);
    check(ncclCommInitRank(&communicator_, size_, id, rank_), "ncclCommInitRank");
  }

  ~NcclCommunicator() override {
    if (communicator_ != nullptr) ncclCommDestroy(communicator_);  // a destructor cannot report
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void reduce_scatter(const at::Tensor& input, const at::Tensor& output) override {
    require_slice(output, input);
    check(ncclReduceScatter(input.data_ptr(), output.data_ptr(), static_cast<size_t>(output.numel()),
                            sum_type(input), ncclSum, communicator_, stream()),
          "ncclReduceScatter");
  }

  void all_gather(const at::Tensor& input, const at::Tensor& output) override {
    require_slice(input, output);
    check(ncclAllGather(input.data_ptr(), output.data_ptr(), input.nbytes(), ncclUint8, communicator_,
                        stream()),
          "ncclAllGather");
  }

  void all_reduce(const at::Tensor& tensor) override {
    require_usable(tensor);
    check(ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), static_cast<size_t>(tensor.numel()),
                        sum_type(tensor), ncclSum, communicator_, stream()),
          "ncclAllReduce");
  }

  void broadcast(const at::Tensor& tensor, int root) override {
    require_usable(tensor);
    check(ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.nbytes(), ncclUint8, root, communicator_,
                        stream()),
          "ncclBroadcast");
  }

  void group_begin() override { check(ncclGroupStart(), "ncclGroupStart"); }
  void group_end() override { check(ncclGroupEnd(), "ncclGroupEnd"); }

 private:
  void check(ncclResult_t result, const char* call) const {
    if (result != ncclSuccess) fail(call, result, ncclGetErrorString(result), ncclGetLastError(nullptr));
  }
  [[noreturn]] void fail(const char* call, int code, const char* meaning, const char* detail) const {
    throw SystemError(fmt::format(
        "{} failed on rank {} ({}, {}) with code {}: {}. {} NCCL_DEBUG=INFO in the environment shows more.",
        call, rank_, host_, device_.str(), code, meaning, detail));
  }

  void check_version() const {
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
    const cudaError_t result = cudaDeviceGetPCIBusId(id, sizeof(id), device_.index());
    if (result != cudaSuccess) fail("cudaDeviceGetPCIBusId", result, cudaGetErrorString(result), "");
    return id;
  }

  void require_usable(const at::Tensor& tensor) const {
    TORCH_INTERNAL_ASSERT(tensor.device() == device_ && tensor.is_contiguous());
  }
  void require_slice(const at::Tensor& slice, const at::Tensor& whole) const {
    require_usable(slice);
    require_usable(whole);
    TORCH_INTERNAL_ASSERT(slice.numel() * size_ == whole.numel() &&
                          slice.scalar_type() == whole.scalar_type());
  }

  cudaStream_t stream() const { return c10::cuda::getCurrentCUDAStream(device_.index()); }

  int rank_, size_;
  std::string host_;
  at::Device device_;
  ncclComm_t communicator_ = nullptr;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(const World& world, const at::Device& device) {
  return std::make_unique<NcclCommunicator>(world, device);
}

}  // namespace sisa::parallel
