#include "model/kernels/hopper.cuh"

namespace sisa::model::kernels::hopper {

bool present() {
  int device = 0, major = 0, minor = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess &&
         major == 9 && minor == 0;
}

TensorMap tensor_map(const Tensor& tensor, const Box& box) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t result = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                                cudaEnableDefault, &found);
    if (result != cudaSuccess || found != cudaDriverEntryPointSuccess)
      throw std::runtime_error("The CUDA driver has no cuTensorMapEncodeTiled; drivers from 525 on have it.");
    return reinterpret_cast<Encode>(function);
  }();
  const auto number = [](int64_t n) { return static_cast<cuuint64_t>(n); };
  const cuuint64_t sizes[4] = {number(tensor.channels), number(tensor.heads), number(tensor.tokens),
                               number(tensor.batch)};
  const auto bytes = [&](int64_t n) { return static_cast<cuuint64_t>(n * box.number_bytes); };
  const cuuint64_t strides[3] = {bytes(tensor.head_stride), bytes(tensor.token_stride),
                                 bytes(tensor.batch_stride)};
  const cuuint32_t box_sizes[4] = {static_cast<cuuint32_t>(box.chunk), 1, static_cast<cuuint32_t>(box.rows),
                                   1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  const uint64_t row_bytes = bytes(box.chunk);
  const CUtensorMapSwizzle swizzle = row_bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                     : row_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                       : CU_TENSOR_MAP_SWIZZLE_32B;
  const CUtensorMapDataType type =
      box.number_bytes == 4 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  TensorMap map;
  const CUresult result = encode(&map, type, 4, const_cast<void*>(tensor.data), sizes, strides, box_sizes,
                                 steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw std::runtime_error("cuTensorMapEncodeTiled failed with code " + std::to_string(result));
  return map;
}

}  // namespace sisa::model::kernels::hopper
