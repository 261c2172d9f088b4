// Which program this is and what it runs on.
#pragma once

#include <string>

namespace sisa::launcher {

// The checkout's commit when this was built, "cb295bd04e1a" or, with changes, "cb295bd04e1a+dirty"; "unknown"
// where it was built outside a checkout.
std::string commit();

// "0.1.0, commit cb295bd04e1a": what a checkpoint records.
std::string code_version();

// Versions of the libraries. `built`: of the headers that this program was compiled with; "none" without
// CUDA.
struct LibraryVersions {
  std::string libtorch_built, libtorch;
  std::string cuda;         // of the runtime
  std::string cuda_driver;  // the newest CUDA that the driver supports; "none" without a driver
  std::string nccl_built, nccl;
  std::string mpi;  // what the library says of itself, its first line
  std::string hdf5;
};
LibraryVersions library_versions();

std::string version_text();  // for --version, a line each

}  // namespace sisa::launcher
