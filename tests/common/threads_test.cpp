#include "common/threads.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
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

TEST(ThreadsTest, RanksShareTheCoresThatSeveralMayRunOn) {
  EXPECT_EQ(fair_cores({{0, 1, 2, 3}}, 0), 4);
  const std::vector<std::vector<int>> bound = {{0, 1}, {2, 3, 4}};
  EXPECT_EQ(fair_cores(bound, 0), 2);
  EXPECT_EQ(fair_cores(bound, 1), 3);
  const std::vector<std::vector<int>> same(3, {0, 1, 2, 3, 4, 5, 6, 7, 8});
  for (size_t rank = 0; rank < 3; ++rank) EXPECT_EQ(fair_cores(same, rank), 3);
  EXPECT_EQ(fair_cores({{0, 1}, {0, 1}, {0, 1}}, 1), 1);  // more ranks than cores
  EXPECT_EQ(fair_cores({{0, 1, 2, 3}, {3}}, 0), 3);       // three of its own and half of one
}

// The folder of control groups as Linux shows it.
class QuotaTest : public testing::Test {
 protected:
  QuotaTest() {
    std::string name = "/tmp/sisa-quota-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~QuotaTest() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories((folder_ / file).parent_path());
    std::ofstream(folder_ / file) << text;
  }
  std::optional<double> quota() const { return cpu_quota(folder_ / "cgroup", folder_ / "membership"); }

 private:
  std::filesystem::path folder_;
};

TEST_F(QuotaTest, OfVersion2) {
  EXPECT_EQ(quota(), std::nullopt);
  write("membership", "0::/jobs/mine\n");
  EXPECT_EQ(quota(), std::nullopt);
  write("cgroup/jobs/mine/cpu.max", "max 100000\n");
  EXPECT_EQ(quota(), std::nullopt);
  write("cgroup/jobs/mine/cpu.max", "350000 100000\n");
  EXPECT_EQ(quota(), 3.5);
  write("cgroup/jobs/cpu.max", "200000 100000\n");  // the group above allows less
  EXPECT_EQ(quota(), 2.0);
}

TEST_F(QuotaTest, OfAContainerWhoseGroupIsMountedAsTheTopmost) {
  write("membership", "0::/\n");
  write("cgroup/cpu.max", "150000 100000\n");
  EXPECT_EQ(quota(), 1.5);
}

TEST_F(QuotaTest, OfVersion1) {
  write("membership", "5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n0::/\n");
  write("cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us", "-1\n");
  write("cgroup/cpu,cpuacct/docker/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), std::nullopt);
  write("cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us", "50000\n");
  EXPECT_EQ(quota(), 0.5);
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
