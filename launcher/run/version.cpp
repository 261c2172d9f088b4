#include "launcher/run/version.h"

#include <ATen/Version.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <mpi.h>
#include <torch/version.h>

#include <string_view>

#ifdef SISA_HAVE_CUDA
#include <cuda_runtime_api.h>
#include <nccl.h>
#endif

namespace sisa::launcher {
namespace {

// LibTorch has no function for its own version; its description of itself says "…, TORCH_VERSION=2.11.0, …".
std::string loaded_libtorch() {
  constexpr std::string_view label = "TORCH_VERSION=";
  const std::string description = at::show_config();
  const size_t begin = description.find(label);
  if (begin == std::string::npos) return "unknown";
  const size_t first = begin + label.size();
  return description.substr(first, description.find(',', first) - first);
}

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown";
  const std::string whole = text;  // `length` of Open MPI counts the closing zero
  return whole.substr(0, whole.find_first_of("\n\r"));
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  if (H5get_libversion(&major, &minor, &release) < 0) return "unknown";
  return fmt::format("{}.{}.{}", major, minor, release);
}

#ifdef SISA_HAVE_CUDA
std::string cuda_number(cudaError_t (*read)(int*)) {
  int version = 0;
  if (read(&version) != cudaSuccess) return "unknown";
  return version == 0 ? "none" : fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

// NCCL writes 2.28.9 as 22809.
std::string nccl_number(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

void add_gpu_libraries(LibraryVersions& versions) {
  versions.cuda = cuda_number(cudaRuntimeGetVersion);
  versions.cuda_driver = cuda_number(cudaDriverGetVersion);
  int nccl = 0;
  versions.nccl_built = nccl_number(NCCL_VERSION_CODE);
  versions.nccl = ncclGetVersion(&nccl) == ncclSuccess ? nccl_number(nccl) : "unknown";
}
#else
void add_gpu_libraries(LibraryVersions& versions) {
  versions.cuda = versions.cuda_driver = versions.nccl_built = versions.nccl = "none";
}
#endif

}  // namespace

std::string code_version() {
  return fmt::format("{}, commit {}", SISA_VERSION, commit());
}

LibraryVersions library_versions() {
  LibraryVersions versions;
  versions.libtorch_built = TORCH_VERSION;
  versions.libtorch = loaded_libtorch();
  versions.mpi = mpi_version();
  versions.hdf5 = hdf5_version();
  add_gpu_libraries(versions);
  return versions;
}

std::string version_text() {
  const LibraryVersions versions = library_versions();
  return fmt::format("sisa {}\nLibTorch {}\nCUDA {}\nNCCL {}\nMPI {}\nHDF5 {}\n", code_version(),
                     versions.libtorch, versions.cuda, versions.nccl, versions.mpi, versions.hdf5);
}

}  // namespace sisa::launcher
