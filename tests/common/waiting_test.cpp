#include "common/waiting.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

#include "common/threads.h"

namespace sisa::common {
namespace {

TEST(WaitingChoiceTest, OneBusyPeriodPutsWaitingThreadsToSleepAndManyCalmOnesWakeThem) {
  WaitingChoice choice;
  EXPECT_FALSE(choice.passive(0));
  EXPECT_FALSE(choice.passive(0.02));  // the system's own services
  EXPECT_TRUE(choice.passive(0.5));
  for (int i = 0; i < 19; ++i) EXPECT_TRUE(choice.passive(0)) << i;
  EXPECT_FALSE(choice.passive(0));
}

TEST(WaitingChoiceTest, CalmPeriodsMustFollowOneAnother) {
  WaitingChoice choice;
  EXPECT_TRUE(choice.passive(1));
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(choice.passive(i % 10 == 9 ? 1 : 0)) << i;
}

TEST(SecondsWithoutCoreTest, GrowWhereThreadsOutnumberTheCores) {
  const auto before = seconds_without_core();
  if (!before) GTEST_SKIP() << "the system does not count them";
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < 2 * std::thread::hardware_concurrency() + 1; ++i)
    threads.emplace_back([end] {
      while (std::chrono::steady_clock::now() < end) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(300));  // the count of a thread ends with it
    });
  std::this_thread::sleep_until(end + std::chrono::milliseconds(50));
  // Each of 2 n + 1 busy threads lacks a core more than half of the time.
  EXPECT_GT(*seconds_without_core() - *before, 0.3 * std::thread::hardware_concurrency());
}

// What `#pragma omp parallel` compiles to; this file is compiled without OpenMP.
using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
Parallel parallel() {
  return reinterpret_cast<Parallel>(::dlsym(RTLD_DEFAULT, "GOMP_parallel"));
}

// Processor seconds of this process for loops in which one thread sleeps and the other waits for it.
double seconds_of_loops() {
  const std::clock_t begin = std::clock();
  for (int i = 0; i < 100; ++i)
    parallel()(
        [](void*) {
          static const auto number = reinterpret_cast<int (*)()>(::dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
          if (number() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        },
        nullptr, 2, 0);
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

TEST(PassiveWaitingTest, WaitingThreadsTakeNoCore) {
  if (available_cores() < 2 || parallel() == nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr ||
      std::getenv("GOMP_SPINCOUNT") != nullptr)
    GTEST_SKIP() << "threads sleep here in any case";
  const double turning = seconds_of_loops();
  double asleep = 0;
  {
    const PassiveWaiting passive;
    asleep = seconds_of_loops();
  }
  const double again = seconds_of_loops();
  EXPECT_LT(2 * asleep, turning);
  EXPECT_LT(2 * asleep, again);
}

TEST(AdaptiveWaitingTest, BeginsAndEndsAtAnyTime) {
  for (const bool oversubscribed : {false, true})
    for (const int milliseconds : {0, 1, 250}) {
      const AdaptiveWaiting waiting(oversubscribed);
      std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    }
}

}  // namespace
}  // namespace sisa::common
