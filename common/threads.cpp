#include "common/threads.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <fstream>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sisa::common {

namespace fs = std::filesystem;

int online_cores() {
  return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

std::vector<int> allowed_cores() {
  constexpr int most = 1 << 16;  // more than any kernel knows; a set that is too small is refused
  cpu_set_t* const set = CPU_ALLOC(most);
  const size_t bytes = CPU_ALLOC_SIZE(most);
  CPU_ZERO_S(bytes, set);
  std::vector<int> cores;
  if (::sched_getaffinity(0, bytes, set) == 0)
    for (int core = 0; core < most; ++core)
      if (CPU_ISSET_S(core, bytes, set)) cores.push_back(core);
  CPU_FREE(set);
  if (cores.empty())
    for (int core = 0; core < online_cores(); ++core) cores.push_back(core);
  return cores;
}

namespace {

// The quota of one group, in cores, or nothing where it has none.
std::optional<double> quota_of(const fs::path& group) {
  double quota = 0, period = 0;                                        // microseconds
  if (std::ifstream file(group / "cpu.max"); file >> quota >> period)  // version 2; "max" is no number
    return quota / period;
  std::ifstream quota_file(group / "cpu.cfs_quota_us"), period_file(group / "cpu.cfs_period_us");
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) return quota / period;
  return std::nullopt;
}

}  // namespace

std::optional<double> cpu_quota(const fs::path& mounted, const fs::path& membership) {
  std::optional<double> least;
  std::ifstream file(membership);
  // Lines such as "0::/user.slice/job", of version 2, or "4:cpu,cpuacct:/docker/0a1b".
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool of_cpu = ("," + controllers + ",").find(",cpu,") != std::string::npos;
    if (!controllers.empty() && !of_cpu) continue;
    // A group is limited by those above it, too. In a container its own may be mounted as the topmost.
    fs::path group = mounted / controllers;
    std::vector<fs::path> groups = {group};
    for (const fs::path& part : fs::path(line.substr(second + 1)).relative_path())
      groups.push_back(group /= part);
    for (const fs::path& limited : groups)
      if (const auto quota = quota_of(limited)) least = std::min(least.value_or(*quota), *quota);
  }
  return least;
}

int available_cores() {
  const auto allowed = static_cast<int>(allowed_cores().size());
  const double quota = cpu_quota().value_or(allowed);
  return std::clamp(static_cast<int>(std::ceil(quota)), 1, allowed);
}

int fair_cores(const std::vector<std::vector<int>>& allowed, size_t rank) {
  double share = 0;
  for (const int core : allowed[rank]) {
    const auto ranks = std::count_if(allowed.begin(), allowed.end(), [&](const std::vector<int>& cores) {
      return std::find(cores.begin(), cores.end(), core) != cores.end();
    });
    share += 1 / static_cast<double>(ranks);
  }
  return std::max(1, static_cast<int>(share + 1e-9));  // thirds may sum to a little less than 1
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
