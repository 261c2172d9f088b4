// SIGINT, SIGTERM and SIGUSR1 as a flag that the training loop reads between steps.
#pragma once

namespace sisa::launcher {

// Installs handlers that only note the signal; the former ones return with the destructor. Construct it after
// MPI_Init, which installs handlers of its own. At most one exists.
class SignalWatch {
 public:
  SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  ~SignalWatch();
  int seen() const;  // the number of the last signal, or 0
};

}  // namespace sisa::launcher
