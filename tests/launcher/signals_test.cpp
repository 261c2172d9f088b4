#include "launcher/run/signals.h"

#include <c10/util/Exception.h>
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

// This is what happens when another rank has died and this one waits for it.
TEST(SignalWatch, EndsAProcessThatCannotAnswer) {
  EXPECT_EXIT(
      {
        SignalWatch watch;
        watch.set_patience(1);
        raise(SIGTERM);
        sleep(20);
        sleep(20);  // the first sleep may end early
        _exit(0);
      },
      testing::ExitedWithCode(75), "not answered in time");
}

TEST(SignalWatch, StartsWithoutSignalAndWithAMinuteOfPatience) {
  {
    SignalWatch watch;
    watch.set_patience(1);
    raise(SIGTERM);
    watch.answered();
  }
  SignalWatch watch;
  EXPECT_EQ(watch.seen(), 0);
  raise(SIGTERM);
  EXPECT_GT(alarm(0), 50u);  // the seconds that were left
}

// Otherwise a signal would set an alarm of no seconds, which is none.
TEST(SignalWatch, HasAtLeastASecondOfPatience) {
  SignalWatch watch;
  watch.set_patience(0);
  raise(SIGTERM);
  EXPECT_EQ(alarm(0), 1u);
}

TEST(SignalWatch, IsTheOnlyOne) {
  {
    SignalWatch watch;
    EXPECT_THROW(SignalWatch(), c10::Error);
    raise(SIGTERM);  // the first one is still on guard
    EXPECT_EQ(watch.seen(), SIGTERM);
    watch.answered();
  }
  EXPECT_NO_THROW(SignalWatch());
}

TEST(SignalWatch, GivesTheFormerHandlersBack) {
  { SignalWatch watch; }
  EXPECT_EXIT(raise(SIGTERM), testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace sisa::tests
