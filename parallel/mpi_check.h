// Checks the results of MPI calls; for the sources of this folder.
#pragma once

namespace sisa::parallel {

// Throws SystemError unless `code` is MPI_SUCCESS. The message has the expression, this rank, its host and
// MPI's text for `code`.
void check_mpi(int code, const char* expression);

}  // namespace sisa::parallel

#define SISA_MPI_CHECK(call) ::sisa::parallel::check_mpi((call), #call)
