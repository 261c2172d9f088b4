#include "checkpoint/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/damage.h"
#include "checkpoint/hdf5.h"

namespace sisa::checkpoint {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

auto damage(const std::string& what) {
  return ThrowsMessage<Damage>(AllOf(HasSubstr("FILE"), HasSubstr(what)));
}

TEST(ChildProcess, ReturnsWhatTheWorkReturns) {
  std::string bytes(300'000, 'x');
  bytes[1] = '\0';
  bytes[2] = '\xff';
  EXPECT_EQ(in_child_process("FILE", [&] { return bytes; }), bytes);
  EXPECT_EQ(in_child_process("FILE", [] { return ""; }), "");
  const std::vector<std::string> texts{"", "one", "\xff"};
  EXPECT_EQ(texts_from_child_process("FILE", [&] { return texts; }), texts);
  EXPECT_TRUE(texts_from_child_process("FILE", [] { return std::vector<std::string>{}; }).empty());
}

TEST(ChildProcess, ChangesNothingHere) {
  int number = 1;
  in_child_process("FILE", [&] { return std::to_string(++number); });
  EXPECT_EQ(number, 1);
}

TEST(ChildProcess, AnErrorIsDamage) {
  EXPECT_THAT([] { in_child_process("FILE", []() -> std::string { throw std::runtime_error("no index"); }); },
              damage("FILE: no index"));
}

TEST(ChildProcess, ACrashIsDamage) {
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE})
    EXPECT_THAT(
        [&] {
          in_child_process("FILE", [&]() -> std::string {
            ::signal(signal, SIG_DFL);
            ::raise(signal);
            return "";
          });
        },
        damage("crashes"));
  EXPECT_THAT([] { in_child_process("FILE", []() -> std::string { ::_exit(3); }); }, damage("crashes"));
}

TEST(ChildProcess, WorkThatNeverEndsIsDamage) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(
      [] {
        in_child_process("FILE",
                         []() -> std::string {
                           volatile int i = 0;
                           for (;;) i = i + 1;
                         },
                         {.seconds = 1});
      },
      damage("does not come to an end"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

// What waits for ever uses no processor time, and says nothing about the file.
TEST(ChildProcess, WorkThatWaitsIsNoDamage) {
  try {
    in_child_process("FILE",
                     []() -> std::string {
                       for (;;) ::pause();
                     },
                     {.seconds_waited = 1});
    FAIL();
  } catch (const Damage&) {
    FAIL();
  } catch (const SystemError& error) {
    EXPECT_THAT(error.what(), HasSubstr("took more than 1 s"));
  }
}

TEST(ChildProcess, NeitherIsBeingKilled) {
  try {
    in_child_process("FILE", []() -> std::string {
      ::raise(SIGKILL);
      return "";
    });
    FAIL();
  } catch (const Damage&) {
    FAIL();
  } catch (const SystemError& error) {
    EXPECT_THAT(error.what(), HasSubstr("was killed"));
  }
}

TEST(ChildProcess, MemoryIsBounded) {
  const auto takes = [](size_t bytes) {
    return in_child_process(
        "FILE",
        [&] {
          return ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? "no"
                                                                                                     : "yes";
        },
        {.memory = 256 << 20});
  };
  EXPECT_EQ(takes(128 << 20), "yes");
  EXPECT_EQ(takes(512 << 20), "no");
  EXPECT_THAT(
      [] { in_child_process("FILE", [] { return std::string(512 << 20, 'x'); }, {.memory = 256 << 20}); },
      damage("too much memory"));
}

TEST(ChildProcess, TheAnswerIsBounded) {
  EXPECT_EQ(in_child_process("FILE", [] { return std::string(99, 'x'); }, {.answer = 100}).size(), 99u);
  EXPECT_THAT([] { in_child_process("FILE", [] { return std::string(1 << 20, 'x'); }, {.answer = 100}); },
              damage("more than 100 bytes"));
}

// While one thread writes files by HDF5, copies are made in which another uses HDF5.
TEST(ChildProcess, MayUseHdf5WhileAnotherThreadDoes) {
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    while (!stop) {
      hdf5::MemoryFile file(4096);
      hdf5::write_attribute(file.id(), "n", int64_t{1});
      file.close();
    }
  });
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(in_child_process("FILE",
                               [] {
                                 hdf5::MemoryFile file(4096);
                                 hdf5::write_attribute(file.id(), "n", int64_t{7});
                                 return std::to_string(hdf5::read_integer(file.id(), "n"));
                               },
                               {.seconds_waited = 60}),
              "7");
  stop = true;
  writer.join();
}

}  // namespace
}  // namespace sisa::checkpoint
