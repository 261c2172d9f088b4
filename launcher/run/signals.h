// The signals to stop, as a flag that the training loop reads between steps.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

#include "parallel/world.h"

namespace sisa::launcher {

// Installs handlers that only note the signal; the destructor restores the former ones. Construct it after
// MPI_Init, which installs handlers of its own.
//  - SIGINT, SIGTERM, SIGUSR1, SIGQUIT and SIGHUP (a terminal that is closed) ask the run to save and to stop.
//    SIGHUP stays ignored where it was ignored before, as under nohup.
//  - SIGPIPE is ignored: a program that reads our output may end at any time, as `tee` does at Ctrl-C.
//
// A process that waits for a rank that is gone, or for a disk or a device that does not answer, never comes
// to read the flag. So that a signal ends it all the same, a thread watches: once a signal has come, it ends
// the process with exit status 75 (try again) if the main thread has not said alive() for too long, and says
// what that thread was waiting for. All waits of the main thread that may be long must therefore be loops that
// say alive(). At most one SignalWatch exists; a second one is an internal error.
class SignalWatch {
 public:
  using Seconds = std::chrono::duration<double>;

  // The main thread may be silent for three times as long as it was at most before, but at least for `least`;
  // and for `first` until it has spoken twice, since nobody knows how long the first step takes.
  explicit SignalWatch(const parallel::World& world, Seconds least = Seconds(20),
                       Seconds first = Seconds(60));
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  ~SignalWatch();

  int seen() const;  // the number of the last signal, or 0
  // The main thread is about to do this, a string literal such as "train a step".
  void alive(const char* doing);

 private:
  using Clock = std::chrono::steady_clock;
  void watch();
  [[noreturn]] void end(Clock::time_point now) const;

  const parallel::World& world_;
  const Seconds least_;
  std::atomic<double> patience_;  // seconds
  std::atomic<const char*> doing_{"start"};
  std::atomic<Clock::rep> spoke_;  // when alive() was said last
  bool spoke_before_ = false;
  double longest_silence_ = 0;  // seconds between two calls of alive()
  std::thread watcher_;
};

}  // namespace sisa::launcher
