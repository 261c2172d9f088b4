#include "data/prefetcher.h"

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <chrono>
#include <utility>

namespace sisa::data {

Prefetcher::Prefetcher(Read read, bool pinned, int num_threads) : read_(std::move(read)), pinned_(pinned) {
  TORCH_INTERNAL_ASSERT(num_threads > 0);
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
}

Prefetcher::~Prefetcher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Prefetcher::request(int64_t first, int64_t count) {
  std::packaged_task<Batch()> task([this, first, count] {
    Batch batch = read_(first, count);
    if (pinned_) batch = {batch.inputs.pin_memory(), batch.targets.pin_memory()};
    return batch;
  });
  requests_.push_back({first, count, task.get_future()});
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(task));
  }
  wake_.notify_one();
}

Batch Prefetcher::take(int64_t first, int64_t count) {
  TORCH_INTERNAL_ASSERT(!requests_.empty(), "no batch was requested");
  const Request& oldest = requests_.front();
  TORCH_INTERNAL_ASSERT(oldest.first == first && oldest.count == count, "asked for ", count,
                        " samples from number ", first, " on, but the next ones requested were ",
                        oldest.count, " from number ", oldest.first, " on");
  std::future<Batch> batch = std::move(requests_.front().batch);
  requests_.pop_front();
  const auto begin = std::chrono::steady_clock::now();
  batch.wait();
  seconds_waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return batch.get();
}

void Prefetcher::work() {
  while (true) {
    std::packaged_task<Batch()> task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      task = std::move(waiting_.front());
      waiting_.pop_front();
    }
    task();
  }
}

}  // namespace sisa::data
