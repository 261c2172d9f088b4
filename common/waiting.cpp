#include "common/waiting.h"

#include <dlfcn.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/threads.h"

namespace sisa::common {

namespace fs = std::filesystem;

PassiveWaiting::PassiveWaiting() {
  // What `#pragma omp parallel num_threads(n)` compiles to, in the library that LibTorch has brought along.
  using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
  const auto parallel = reinterpret_cast<Parallel>(::dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  if (parallel == nullptr) return;
  holder_ = std::thread([this, parallel] {
    parallel([](void*) {}, nullptr, static_cast<unsigned>(online_cores()) + 1, 0);
    std::unique_lock lock(mutex_);
    ready_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return over_; });
  });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ready_; });
}

PassiveWaiting::~PassiveWaiting() {
  if (!holder_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  holder_.join();
}

std::optional<double> seconds_without_core() {
  double sum = 0;
  bool any = false;
  std::error_code error;
  for (fs::directory_iterator task("/proc/self/task", error), end; !error && task != end;
       task.increment(error)) {
    std::ifstream file(task->path() / "schedstat");
    double running = 0, waiting = 0;  // nanoseconds
    if (file >> running >> waiting) sum += waiting * 1e-9, any = true;
  }
  return any ? std::optional(sum) : std::nullopt;
}

bool WaitingChoice::passive(double lacking) {
  // One other program that computes takes about half a core or more from a run whose threads fill the cores; the run's own
  // threads, which read data and save, and the system's services together take less than a fifth. One busy period is
  // enough to change, as turning threads cost much where cores are shared; many calm ones are needed to change back.
  constexpr double much = 0.2;
  constexpr int long_enough = 20;
  calm_ = lacking > much ? 0 : calm_ + 1;
  if (lacking > much) passive_ = true;
  if (calm_ >= long_enough) passive_ = false;
  return passive_;
}

AdaptiveWaiting::AdaptiveWaiting(bool oversubscribed) {
  if (oversubscribed)
    passive_.emplace();
  else if (seconds_without_core())
    watcher_ = std::thread([this] { watch(); });
}

AdaptiveWaiting::~AdaptiveWaiting() {
  if (!watcher_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  watcher_.join();
}

void AdaptiveWaiting::watch() {
  using Clock = std::chrono::steady_clock;
  constexpr auto period = std::chrono::milliseconds(100);
  WaitingChoice choice;
  double before = seconds_without_core().value_or(0);
  Clock::time_point since = Clock::now();
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, period, [this] { return over_; })) {
    const double now = seconds_without_core().value_or(before);
    const double seconds = std::chrono::duration<double>(Clock::now() - since).count();
    const bool asleep = choice.passive((now - before) / seconds);
    if (asleep && !passive_) passive_.emplace();
    if (!asleep) passive_.reset();
    before = now, since = Clock::now();
  }
}

}  // namespace sisa::common
