#include "launcher/run/signals.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::launcher {
namespace {

constexpr std::array watched = {SIGINT, SIGTERM, SIGUSR1, SIGQUIT, SIGHUP, SIGPIPE};

// A signal handler reaches nothing but global variables. The one SignalWatch owns these.
bool is_owned = false;
volatile std::sig_atomic_t last_signal = 0;
std::array<int, 2> waker = {-1, -1};  // a pipe, whose reader is the thread that watches
std::array<struct sigaction, watched.size()> former;

// Does only what is safe in a signal handler.
void handle(int number) {
  last_signal = number;
  const int error = errno;
  const char byte = 's';
  [[maybe_unused]] const auto written = write(waker[1], &byte, 1);
  errno = error;
}

// Waits for a byte in the pipe, at most so many milliseconds; -1: for ever.
char wait_for_byte(int milliseconds) {
  pollfd reader{waker[0], POLLIN, 0};
  char byte = 0;
  if (::poll(&reader, 1, milliseconds) > 0) [[maybe_unused]]
    const auto got = ::read(waker[0], &byte, 1);
  return byte;
}

}  // namespace

SignalWatch::SignalWatch(const parallel::World& world, Seconds least, Seconds first)
    : world_(world),
      least_(least),
      patience_(first.count()),
      spoke_(Clock::now().time_since_epoch().count()) {
  TORCH_INTERNAL_ASSERT(!is_owned, "a process can have one SignalWatch only");
  if (::pipe2(waker.data(), O_CLOEXEC | O_NONBLOCK) != 0) throw SystemError::with_errno("Cannot open a pipe");
  is_owned = true;
  last_signal = 0;
  // The thread takes none of the signals, since threads inherit what is blocked when they are made.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  watcher_ = std::thread([this] { watch(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);

  struct sigaction action {};
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < watched.size(); ++i) {
    action.sa_handler = watched[i] == SIGPIPE ? SIG_IGN : handle;
    sigaction(watched[i], &action, &former[i]);
    if (watched[i] == SIGHUP && former[i].sa_handler == SIG_IGN) sigaction(SIGHUP, &former[i], nullptr);
  }
}

SignalWatch::~SignalWatch() {
  for (size_t i = 0; i < watched.size(); ++i) sigaction(watched[i], &former[i], nullptr);
  const char byte = 'e';
  [[maybe_unused]] const auto written = write(waker[1], &byte, 1);
  watcher_.join();
  for (int& end : waker) ::close(std::exchange(end, -1));
  is_owned = false;
}

int SignalWatch::seen() const {
  return last_signal;
}

void SignalWatch::alive(const char* doing) {
  const auto now = Clock::now();
  const Seconds silence = now - Clock::time_point(Clock::duration(spoke_.load()));
  if (spoke_before_) {
    longest_silence_ = std::max(longest_silence_, silence.count());
    patience_ = std::max(least_.count(), 3 * longest_silence_);
  }
  spoke_before_ = true;
  doing_ = doing;
  spoke_ = now.time_since_epoch().count();
}

// The watching thread: it sleeps until a signal or the destructor writes to the pipe.
void SignalWatch::watch() {
  for (char byte = 0; byte != 's';) {
    byte = wait_for_byte(-1);
    if (byte == 'e') return;
  }
  auto since = Clock::now();  // a signal, or the main thread's last word
  while (wait_for_byte(100) != 'e') {
    since = std::max(since, Clock::time_point(Clock::duration(spoke_.load())));
    if (const auto now = Clock::now(); now - since > Seconds(patience_.load())) end(now);
  }
}

void SignalWatch::end(Clock::time_point now) const {
  const auto collective = world_.collective_status().read();
  const auto ago = [&](Clock::time_point then) {
    return common::format_duration(Seconds(now - then).count());
  };
  std::string text =
      world_.size() == 1 ? std::string("The run") : fmt::format("Rank {} ({})", world_.rank(), world_.host());
  text += fmt::format(" was told to stop by signal {} and cannot: ", static_cast<int>(last_signal));
  if (collective.name != nullptr && world_.size() > 1)
    text += fmt::format("it has waited for other ranks for {} ({}{}), so they must be gone or hang.",
                        ago(collective.since), collective.name,
                        collective.step < 0 ? "" : fmt::format(" of step {}", collective.step));
  else
    text += fmt::format("it began to {} {} ago and has not come back.", doing_.load(),
                        ago(Clock::time_point(Clock::duration(spoke_.load()))));
  text += " It ends without a save.\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data(), text.size());
  _exit(common::try_again);
}

}  // namespace sisa::launcher
