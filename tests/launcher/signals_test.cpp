#include "launcher/run/signals.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "tests/mpi_world.h"

namespace sisa::tests {
namespace {

using launcher::SignalWatch;
using namespace std::chrono_literals;

constexpr SignalWatch::Seconds moment(0.3);

TEST(SignalWatch, NotesASignalAndTellsItsNumber) {
  SignalWatch watch(world());
  EXPECT_EQ(watch.seen(), 0);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGQUIT, SIGHUP}) {
    raise(number);
    EXPECT_EQ(watch.seen(), number);
  }
}

TEST(SignalWatch, StartsWithoutASignal) {
  {
    SignalWatch watch(world());
    raise(SIGTERM);
  }
  EXPECT_EQ(SignalWatch(world()).seen(), 0);
}

TEST(SignalWatch, EndsAProcessThatCannotAnswer) {
  EXPECT_EXIT(
      {
        SignalWatch watch(world(), moment, moment);
        watch.alive("wait for Godot");
        raise(SIGTERM);
        std::this_thread::sleep_for(20s);
        _exit(0);
      },
      testing::ExitedWithCode(75),
      "was told to stop by signal 15 and cannot: it began to wait for Godot .*s ago and has not come back");
}

TEST(SignalWatch, LeavesAProcessAloneThatAnswers) {
  EXPECT_EXIT(
      {
        SignalWatch watch(world(), moment, moment);
        raise(SIGTERM);
        for (int i = 0; i < 20; ++i) {
          std::this_thread::sleep_for(50ms);
          watch.alive("go on");
        }
        _exit(0);
      },
      testing::ExitedWithCode(0), "");
}

// The first silence has a limit of its own; later ones may be three times as long as the longest before.
TEST(SignalWatch, IsAsPatientAsTheProcessIsSlow) {
  EXPECT_EXIT(
      {
        SignalWatch watch(world(), /*least=*/0.01s, /*first=*/60s);
        raise(SIGTERM);
        std::this_thread::sleep_for(500ms);
        watch.alive("train a step");
        std::this_thread::sleep_for(500ms);
        watch.alive("train a step");
        std::this_thread::sleep_for(1s);
        std::fputs("still there", stderr);
        std::this_thread::sleep_for(20s);
        _exit(0);
      },
      testing::ExitedWithCode(75), "still there.*began to train a step 1[.][5-9]s ago");
}

TEST(SignalWatch, WithoutASignalNothingEnds) {
  SignalWatch watch(world(), 0.01s, 0.01s);
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(watch.seen(), 0);
}

// As when `tee`, which reads our output, ends at Ctrl-C before we do.
TEST(SignalWatch, ABrokenPipeIsAnErrorAndNotTheEnd) {
  const SignalWatch watch(world());
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  EXPECT_EQ(write(ends[1], "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  close(ends[1]);
  EXPECT_EQ(watch.seen(), 0);
}

TEST(SignalWatch, AHangupThatIsIgnoredStaysIgnored) {
  const auto before = std::signal(SIGHUP, SIG_IGN);  // as under nohup
  {
    const SignalWatch watch(world());
    raise(SIGHUP);
    EXPECT_EQ(watch.seen(), 0);
  }
  EXPECT_EQ(std::signal(SIGHUP, before), SIG_IGN);
}

TEST(SignalWatch, IsTheOnlyOne) {
  {
    SignalWatch watch(world());
    EXPECT_THROW(SignalWatch{world()}, c10::Error);
    raise(SIGTERM);  // the first one is still on guard
    EXPECT_EQ(watch.seen(), SIGTERM);
  }
  EXPECT_NO_THROW(SignalWatch{world()});
}

TEST(SignalWatch, GivesTheFormerHandlersBack) {
  { SignalWatch watch(world()); }
  EXPECT_EXIT(raise(SIGTERM), testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace sisa::tests
