#include "parallel/collective_status.h"

#include <c10/util/Exception.h>

namespace sisa::parallel {

CollectiveStatus::Snapshot CollectiveStatus::own() const {
  return {name_.load(std::memory_order_relaxed), step_.load(std::memory_order_relaxed),
          Clock::time_point(Clock::duration(since_.load(std::memory_order_relaxed)))};
}

CollectiveStatus::Snapshot CollectiveStatus::read() const {
  while (true) {
    const uint64_t before = version_.load(std::memory_order_acquire);
    const Snapshot snapshot = own();
    std::atomic_thread_fence(std::memory_order_acquire);
    if (before % 2 == 0 && version_.load(std::memory_order_relaxed) == before) return snapshot;
    std::this_thread::yield();
  }
}

void CollectiveStatus::write(const Snapshot& snapshot) {
  const uint64_t version = version_.load(std::memory_order_relaxed);
  version_.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  name_.store(snapshot.name, std::memory_order_relaxed);
  step_.store(snapshot.step, std::memory_order_relaxed);
  since_.store(snapshot.since.time_since_epoch().count(), std::memory_order_relaxed);
  version_.store(version + 2, std::memory_order_release);
}

void CollectiveStatus::require_owner() const {
  TORCH_INTERNAL_ASSERT(std::this_thread::get_id() == owner_, "only the main thread communicates");
}

void CollectiveStatus::set_step(int64_t step) {
  require_owner();
  Snapshot next = own();
  next.step = step;
  write(next);
}

CollectiveStatus::Scope::Scope(CollectiveStatus& status, const char* name)
    : status_(status), outer_(status.own()) {
  status.require_owner();
  status.write({name, outer_.step, Clock::now()});
}

CollectiveStatus::Scope::~Scope() {
  // The step may have been set inside the scope.
  status_.write({outer_.name, status_.own().step, outer_.name == nullptr ? Clock::now() : outer_.since});
}

}  // namespace sisa::parallel
