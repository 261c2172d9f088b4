// Work in a process of its own, which may crash, go on for ever or ask for any amount of memory without harm.
//
// HDF5 is written for files whose writers are trusted: there are files at which it crashes or never returns.
// They need not be the work of an attacker, but no checksum keeps one out who corrects it.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace sisa::checkpoint {

struct ChildLimits {
  int64_t seconds = 20;          // of the processor
  int64_t seconds_waited = 120;  // from start to end
  int64_t memory = 2LL << 30;    // bytes in addition to those of this process
  int64_t answer = 1LL << 30;    // bytes of the result
};

// Returns what `work` returns in a copy of this process (fork). The copy has one thread, so `work` must not call
// MPI, CUDA or LibTorch, and what it changes is lost. Blocks, but starts no work in this process.
//
// Throws Damage "`what`: …" if `work` throws, crashes, or exceeds a limit other than the time waited;
// SystemError if the process cannot be started, is killed or does not answer in time. May be called on any thread.
std::string in_child_process(const std::string& what, const std::function<std::string()>& work,
                             const ChildLimits& limits = {});

// The same for several texts.
std::vector<std::string> texts_from_child_process(const std::string& what,
                                                  const std::function<std::vector<std::string>()>& work,
                                                  const ChildLimits& limits = {});

// Held by whoever calls HDF5 in this process, so that no thread is amid a call when a copy is made: the copy
// would find HDF5's locks taken for ever.
std::mutex& hdf5_in_use();

}  // namespace sisa::checkpoint
