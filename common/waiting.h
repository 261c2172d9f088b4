// How the threads among which LibTorch spreads an operation wait for one another: turning round and round, which
// answers at once but takes a core, or asleep.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

namespace sisa::common {

// While an object of this class lives, waiting threads fall asleep at once.
//
// OpenMP's library reads OMP_WAIT_POLICY before `main`, when nothing is known yet, and has no call that changes
// it. But GNU's (libgomp, which LibTorch uses) documents that its threads turn 300,000 times while they wait, and
// only 100 times while a process has more threads of OpenMP than cores. So the object holds as many threads
// as there are cores, all of them asleep. Where the environment sets OMP_WAIT_POLICY or GOMP_SPINCOUNT, or with
// another OpenMP library, it changes nothing.
class PassiveWaiting {
 public:
  PassiveWaiting();
  PassiveWaiting(const PassiveWaiting&) = delete;
  PassiveWaiting& operator=(const PassiveWaiting&) = delete;
  ~PassiveWaiting();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ready_ = false, over_ = false;
  std::thread holder_;  // the first of a team of OpenMP's; the team ends with it
};

// The time in which the threads of this process, all together, could have run but had no core, in seconds since
// the process began. Nothing where the system does not say (/proc/PID/task/TID/schedstat). A thread that ends
// takes its time with it, so that the sum may fall.
std::optional<double> seconds_without_core();

// Whether threads should wait asleep, by the share of a core that they lacked in the last period.
class WaitingChoice {
 public:
  // `lacking`: seconds without a core per second, of all threads together.
  bool passive(double lacking);

 private:
  bool passive_ = false;
  int calm_ = 0;  // periods in a row in which no core was lacking
};

// Chooses between the two as long as it lives: asleep while this process shares its cores, with its own
// threads, other ranks or other programs, and turning while it has them for itself.
class AdaptiveWaiting {
 public:
  // `oversubscribed`: this process has more threads than its share of the cores, so that they wait asleep from
  // the start and always.
  explicit AdaptiveWaiting(bool oversubscribed);
  AdaptiveWaiting(const AdaptiveWaiting&) = delete;
  AdaptiveWaiting& operator=(const AdaptiveWaiting&) = delete;
  ~AdaptiveWaiting();

 private:
  void watch();

  std::optional<PassiveWaiting> passive_;  // the watcher's while it runs
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread watcher_;  // none where there is nothing to choose
};

}  // namespace sisa::common
