// Checking of MPI calls; for the sources of this folder.
#pragma once

namespace sisa::parallel {

// Throws SystemError with the expression, this rank, its host and MPI's text for `code`, unless that is
// MPI_SUCCESS.
void check_mpi(int code, const char* expression);

}  // namespace sisa::parallel

#define SISA_MPI_CHECK(call) ::sisa::parallel::check_mpi((call), #call)
