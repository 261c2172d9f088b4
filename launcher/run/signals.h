// SIGINT, SIGTERM and SIGUSR1 as a flag that the training loop reads between steps.
#pragma once

namespace sisa::launcher {

// Installs handlers that only note the signal; the destructor restores the former ones. Construct it after
// MPI_Init, which installs handlers of its own.
//
// When a rank dies, mpirun sends SIGTERM to the others. They wait for the dead rank in a collective and
// therefore never come to read the flag. For this reason a signal that is not answered in time ends the
// process with exit status 75 (try again) and a message that says so.
//
// The time is measured by alarm(2). A process has one alarm and one handler of SIGALRM, and this class owns
// both: nothing else in the program may use them. At most one SignalWatch exists; a second one is an internal
// error.
class SignalWatch {
 public:
  SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  ~SignalWatch();
  int seen() const;  // the number of the last signal, or 0
  // How long the process may take to answer a signal that arrives from now on: at least a second, and a
  // minute unless this is called.
  void set_patience(double seconds);
  void answered();  // the ranks have agreed on what to do about the signal
};

}  // namespace sisa::launcher
