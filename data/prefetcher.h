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

// Background threads that read requested batches while the caller computes. Batches are taken in the order in
// which they were requested, by one caller.
class Prefetcher {
 public:
  // read(first, count): a pure function such as Loader::read, called on the background threads, which only
  // copy memory and, behind a memory map, wait for the disk. pinned: batches arrive in page-locked memory,
  // from which a copy to a GPU runs by itself (`.to(device, /*non_blocking=*/true)`).
  using Read = std::function<Batch(int64_t first, int64_t count)>;
  Prefetcher(Read read, bool pinned, int num_threads = 2);
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;
  // Waits for the batches that are being read and drops those that are not begun.
  ~Prefetcher();

  // Every requested batch is held until it is taken: bound their number by what you request.
  void request(int64_t first, int64_t count);
  int64_t num_requested() const { return static_cast<int64_t>(requests_.size()); }  // and not yet taken
  // The oldest requested batch, which must be the one of this `first` and `count`; waits for it. Throws what
  // `read` threw.
  Batch take(int64_t first, int64_t count);
  // The time that all calls of `take` have waited so far.
  double seconds_waited() const { return seconds_waited_; }

 private:
  struct Request {
    int64_t first, count;
    std::future<Batch> batch;
  };
  void work();

  Read read_;
  bool pinned_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;                            // guarded by mutex_
  std::deque<std::packaged_task<Batch()>> waiting_;  // guarded by mutex_; not yet begun
  std::deque<Request> requests_;                     // the caller's; not yet taken
  double seconds_waited_ = 0;                        // the caller's
  std::vector<std::thread> threads_;
};

}  // namespace sisa::data
