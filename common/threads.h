// Work on several threads.
#pragma once

#include <cstdint>
#include <functional>

namespace sisa::common {

int available_cores();  // that this process may run on; at least 1

// Calls work(i) once for each i in [0, count), in order but on up to `threads` threads at a time, and waits
// for all. After an exception no further call begins; of several exceptions that of the smallest i is thrown.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& work);

}  // namespace sisa::common
