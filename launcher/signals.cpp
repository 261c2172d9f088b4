#include "launcher/signals.h"

#include <array>
#include <csignal>

namespace sisa::launcher {
namespace {

constexpr std::array watched = {SIGINT, SIGTERM, SIGUSR1};
volatile std::sig_atomic_t last_signal = 0;
std::array<struct sigaction, watched.size()> former;

}  // namespace

SignalWatch::SignalWatch() {
  last_signal = 0;
  struct sigaction action {};
  action.sa_handler = [](int number) { last_signal = number; };
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < watched.size(); ++i) sigaction(watched[i], &action, &former[i]);
}

SignalWatch::~SignalWatch() {
  for (size_t i = 0; i < watched.size(); ++i) sigaction(watched[i], &former[i], nullptr);
}

int SignalWatch::seen() const {
  return last_signal;
}

}  // namespace sisa::launcher
