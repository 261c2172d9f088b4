#include "common/threads.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace sisa::common {
namespace {

// Binds this process to the first of its cores, as mpirun may, until the end of the scope.
class BoundToOneCore {
 public:
  BoundToOneCore() {
    EXPECT_EQ(::sched_getaffinity(0, sizeof before_, &before_), 0);
    int core = 0;
    while (!CPU_ISSET(core, &before_)) ++core;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    EXPECT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  }
  BoundToOneCore(const BoundToOneCore&) = delete;
  BoundToOneCore& operator=(const BoundToOneCore&) = delete;
  ~BoundToOneCore() { ::sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_;
};

TEST(ThreadsTest, AvailableCoresFollowTheAffinityMask) {
  const int before = available_cores();
  EXPECT_GE(before, 1);
  EXPECT_LE(before, online_cores());
  {
    const BoundToOneCore bound;
    EXPECT_EQ(available_cores(), 1);
    EXPECT_GE(online_cores(), before);
  }
  EXPECT_EQ(available_cores(), before);
}

TEST(ThreadsTest, RanksShareTheHostsCores) {
  for (int ranks = 1; ranks <= online_cores(); ++ranks) {
    EXPECT_GE(threads_of_rank(ranks), 1);
    EXPECT_LE(threads_of_rank(ranks) * ranks, online_cores());
  }
  if (available_cores() == online_cores()) {
    EXPECT_EQ(threads_of_rank(1), online_cores());
  }
  EXPECT_EQ(threads_of_rank(10'000), 1);  // more ranks than cores
}

TEST(ThreadsTest, ARankThatIsBoundToACoreStartsOneThread) {
  const BoundToOneCore bound;
  EXPECT_EQ(threads_of_rank(1), 1);
  // A mask of its own is a rank's share already and is not divided again.
  EXPECT_EQ(threads_of_rank(2), 1);
}

TEST(ThreadsTest, EachCallComesOnce) {
  for (const int threads : {1, 2, 7}) {
    std::vector<std::atomic<int>> calls(100);
    parallel_for(100, threads, [&](int64_t i) { ++calls[static_cast<size_t>(i)]; });
    for (const auto& count : calls) EXPECT_EQ(count, 1);
  }
  parallel_for(0, 3, [](int64_t) { FAIL(); });
}

TEST(ThreadsTest, AnExceptionEndsTheWork) {
  std::vector<int64_t> called;
  std::mutex mutex;
  try {
    parallel_for(1000, 4, [&](int64_t i) {
      {
        const std::lock_guard lock(mutex);
        called.push_back(i);
      }
      if (i >= 10) throw std::runtime_error(std::to_string(i));
    });
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "10");
  }
  EXPECT_LE(called.size(), 14u);  // calls that had begun on the other threads
}

}  // namespace
}  // namespace sisa::common
