#include "launcher/run/signals.h"

#include <c10/util/Exception.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <string_view>

#include "common/error.h"

namespace sisa::launcher {
namespace {

constexpr std::array watched = {SIGINT, SIGTERM, SIGUSR1, SIGALRM};
constexpr std::sig_atomic_t first_patience = 60;  // seconds

// A signal handler reaches nothing but global variables. The one SignalWatch owns these.
bool is_owned = false;
volatile std::sig_atomic_t last_signal = 0;
volatile std::sig_atomic_t patience = first_patience;  // seconds
std::array<struct sigaction, watched.size()> former;

// Does only what is safe in a signal handler.
void handle(int number) {
  if (number == SIGALRM) {
    constexpr std::string_view text =
        "A signal to stop was not answered in time: other ranks must be gone. Ending without a save.\n";
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data(), text.size());
    _exit(common::try_again);
  }
  if (last_signal == 0) alarm(static_cast<unsigned>(patience));
  last_signal = number;
}

}  // namespace

SignalWatch::SignalWatch() {
  TORCH_INTERNAL_ASSERT(!is_owned, "a process can have one SignalWatch only");
  is_owned = true;
  last_signal = 0;
  patience = first_patience;
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < watched.size(); ++i) sigaction(watched[i], &action, &former[i]);
}

SignalWatch::~SignalWatch() {
  alarm(0);
  for (size_t i = 0; i < watched.size(); ++i) sigaction(watched[i], &former[i], nullptr);
  is_owned = false;
}

int SignalWatch::seen() const {
  return last_signal;
}

void SignalWatch::set_patience(double seconds) {
  patience = static_cast<std::sig_atomic_t>(std::ceil(std::max(seconds, 1.0)));  // alarm(0) would be no alarm
}

void SignalWatch::answered() {
  alarm(0);
}

}  // namespace sisa::launcher
