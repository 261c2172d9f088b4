// SIGINT, SIGTERM and SIGUSR1 as a flag that the training loop reads between steps.
#pragma once

namespace sisa::launcher {

// Installs handlers that only note the signal; the former ones return with the destructor. Construct it after
// MPI_Init, which installs handlers of its own. At most one exists.
//
// When a rank dies, mpirun sends SIGTERM to the others, which wait for the dead one in a collective and so
// never come to read the flag. A signal that has not been answered in time therefore ends the process with
// exit status 75 (try again), saying so.
class SignalWatch {
 public:
  SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  ~SignalWatch();
  int seen() const;  // the number of the last signal, or 0
  // How long after a signal the process may still take to answer it; at first a minute.
  void set_patience(double seconds);
  void answered();  // the ranks have agreed on what to do about the signal
};

}  // namespace sisa::launcher
