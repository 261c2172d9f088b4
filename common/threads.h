// Cores, and work on several threads.
#pragma once

#include <cstdint>
#include <functional>

namespace sisa::common {

int online_cores();     // the cores of this host, at least 1
int available_cores();  // the cores that this process may run on (its affinity mask), at least 1

// The default number of threads of a rank on a host with `num_ranks` ranks: the rank's share of the host's
// cores, but not more than the cores that it may run on. At least 1.
//
// The cores of the affinity mask are not divided among the ranks, because mpirun may bind each rank to cores
// of its own; the mask then is that rank's share already. If all ranks have the same restricted mask (a
// container, taskset), they may together start more threads than the mask has cores.
int threads_of_rank(int num_ranks);

// Calls work(i) once for each i in [0, count), in ascending order but on up to `threads` threads at a time,
// and waits for all calls. After an exception no further call begins; if several calls throw, the exception
// of the smallest i is passed on.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& work);

}  // namespace sisa::common
