// Cores, and work on several threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

namespace sisa::common {

int online_cores();                // the cores of this host, at least 1
std::vector<int> allowed_cores();  // the numbers of those that this process may run on (its affinity mask)
// The processor time that control groups allow this process and its neighbours in the group, in cores, such as
// 1.5 in a container that was started with --cpus=1.5. Nothing where none limits it. `mounted` and
// `membership` are read: the folder of the groups (version 1 or 2) and the file that names this process's.
std::optional<double> cpu_quota(const std::filesystem::path& mounted = "/sys/fs/cgroup",
                                const std::filesystem::path& membership = "/proc/self/cgroup");
int available_cores();  // that this process can keep busy, by mask and quota; at least 1

// The cores for rank number `rank` of a host whose ranks may run on `allowed[rank]`: each core counts for as
// many parts as there are ranks that may run on it. So ranks that mpirun has bound to cores of their own get
// these, and ranks with one mask (a container, taskset) share it. At least 1.
int fair_cores(const std::vector<std::vector<int>>& allowed, size_t rank);

// Calls work(i) once for each i in [0, count), in ascending order but on up to `threads` threads at a time,
// and waits for all calls. After an exception no further call begins; if several calls throw, the exception
// of the smallest i is passed on.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& work);

}  // namespace sisa::common
