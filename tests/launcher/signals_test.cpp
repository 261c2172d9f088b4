#include "launcher/run/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace sisa::tests {
namespace {

using launcher::SignalWatch;

TEST(SignalWatch, NotesASignalAndTellsItsNumber) {
  SignalWatch watch;
  EXPECT_EQ(watch.seen(), 0);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) {
    raise(number);
    EXPECT_EQ(watch.seen(), number);
  }
  watch.answered();
}

// As when another rank died and this one waits for it for ever.
TEST(SignalWatch, EndsAProcessThatCannotAnswer) {
  EXPECT_EXIT(
      {
        SignalWatch watch;
        watch.set_patience(1);
        raise(SIGTERM);
        sleep(20);
        sleep(20);  // the first may end early
        _exit(0);
      },
      testing::ExitedWithCode(75), "not answered in time");
}

TEST(SignalWatch, GivesTheFormerHandlersBack) {
  { SignalWatch watch; }
  EXPECT_EXIT(raise(SIGTERM), testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace sisa::tests
