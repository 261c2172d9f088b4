#include "common/threads.h"

#include <c10/util/Exception.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

namespace sisa::common {

int online_cores() {
  return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails on hosts with more cores than the set can hold, 1,024.
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return online_cores();
  return std::max(1, CPU_COUNT(&set));
}

int threads_of_rank(int num_ranks) {
  TORCH_INTERNAL_ASSERT(num_ranks >= 1);
  return std::min(available_cores(), std::max(1, online_cores() / num_ranks));
}

void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& work) {
  std::mutex mutex;
  int64_t next = 0, failed = std::numeric_limits<int64_t>::max();
  std::exception_ptr error;
  const auto run = [&] {
    while (true) {
      int64_t i = 0;
      {
        const std::lock_guard lock(mutex);
        if (next == count || error) return;
        i = next++;
      }
      try {
        work(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < failed) error = std::current_exception(), failed = i;
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (int64_t t = 1; t < std::min<int64_t>(threads, count); ++t) others.emplace_back(run);
    run();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace sisa::common
