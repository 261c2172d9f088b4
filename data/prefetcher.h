// Batches read ahead of their use.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "data/loader.h"

namespace sisa::data {

// Background threads that read requested batches while the caller computes. Batches come back in the order in
// which they were requested. One caller.
class Prefetcher {
 public:
  // read(first, count): a pure function such as Loader::read, called on the background threads, which only
  // copy memory and, behind a memory map, wait for the disk. pinned: batches arrive in page-locked memory,
  // from which a copy to a GPU runs by itself (`.to(device, /*non_blocking=*/true)`).
  using Read = std::function<Batch(int64_t first, int64_t count)>;
  Prefetcher(Read read, bool pinned, int num_threads = 2);
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;
  // Waits for the batches being read; those not begun are dropped.
  ~Prefetcher();

  // All requested batches are held until they are taken: bound them by what you request.
  void request(int64_t first, int64_t count);
  int64_t num_requested() const { return static_cast<int64_t>(results_.size()); }  // and not yet taken
  // The oldest requested batch, of which there must be one; waits for it. Throws what `read` threw.
  Batch take();

 private:
  void work();

  Read read_;
  bool pinned_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;  // guarded by mutex_, as is the next
  std::deque<std::packaged_task<Batch()>> waiting_;
  std::deque<std::future<Batch>> results_;  // the caller's
  std::vector<std::thread> threads_;
};

}  // namespace sisa::data
