#include "parallel/collective_status.h"

#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/communicator.h"
#include "tests/mpi_world.h"

namespace sisa::tests {
namespace {

using parallel::CollectiveStatus;
using parallel::World;
using Clock = CollectiveStatus::Clock;
using Scope = CollectiveStatus::Scope;

std::string name_of(const CollectiveStatus::Snapshot& snapshot) {
  return snapshot.name == nullptr ? "" : snapshot.name;
}

TEST(CollectiveStatus, IsOutsideOfCallsAtFirst) {
  const auto begin = Clock::now();
  const CollectiveStatus status;
  EXPECT_EQ(status.read().name, nullptr);
  EXPECT_EQ(status.read().step, -1);
  EXPECT_GE(status.read().since, begin);
  EXPECT_LE(status.read().since, Clock::now());
}

TEST(CollectiveStatus, GoesBackToTheOuterCall) {
  CollectiveStatus status;
  status.set_step(7);
  const auto before = Clock::now();
  {
    const Scope outer(status, "outer");
    const auto outer_since = status.read().since;
    EXPECT_EQ(name_of(status.read()), "outer");
    EXPECT_EQ(status.read().step, 7);
    EXPECT_GE(outer_since, before);
    {
      const Scope inner(status, "inner");
      EXPECT_EQ(name_of(status.read()), "inner");
      EXPECT_GE(status.read().since, outer_since);
      status.set_step(8);
      EXPECT_EQ(name_of(status.read()), "inner");
    }
    EXPECT_EQ(name_of(status.read()), "outer");
    EXPECT_EQ(status.read().since, outer_since);
    EXPECT_EQ(status.read().step, 8);
  }
  EXPECT_EQ(status.read().name, nullptr);
  EXPECT_GE(status.read().since, before);
}

TEST(CollectiveStatus, IsLeftByExceptions) {
  CollectiveStatus status;
  try {
    const Scope outer(status, "outer");
    try {
      const Scope inner(status, "inner");
      throw std::runtime_error("inner");
    } catch (const std::runtime_error&) {
      EXPECT_EQ(name_of(status.read()), "outer");
    }
    throw std::runtime_error("outer");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(status.read().name, nullptr);
}

TEST(CollectiveStatus, IsWrittenByItsOwnThreadOnly) {
  CollectiveStatus status;
  std::thread([&] {
    EXPECT_THROW(status.set_step(1), c10::Error);
    EXPECT_THROW(Scope(status, "scope"), c10::Error);
    EXPECT_EQ(status.read().name, nullptr);
    EXPECT_EQ(status.read().step, -1);
  }).join();
}

// Name and beginning of a call change together, so that a reader must never see one without the other.
TEST(CollectiveStatus, IsReadAsOfOneMoment) {
  CollectiveStatus status;
  const Scope outer(status, "outer");
  const auto outer_since = status.read().since;
  while (Clock::now() == outer_since) continue;
  std::atomic<int64_t> num_outer = 0, num_inner = 0;  // snapshots
  std::atomic<bool> ends = false;
  int64_t num_mixed = 0;
  std::thread reader([&] {
    while (!ends) {
      const auto snapshot = status.read();
      const bool is_outer = name_of(snapshot) == "outer";
      num_mixed += is_outer != (snapshot.since == outer_since);
      ++(is_outer ? num_outer : num_inner);
    }
  });
  const auto end = Clock::now() + std::chrono::seconds(60);
  while ((num_outer < 10'000 || num_inner < 10'000) && Clock::now() < end) {
    const Scope inner(status, "inner");
  }
  ends = true;
  reader.join();
  EXPECT_GE(num_outer.load(), 10'000);
  EXPECT_GE(num_inner.load(), 10'000);
  EXPECT_EQ(num_mixed, 0);
}

// Every collective call of World and of the MPI communicator, as a call of all ranks.
std::vector<std::pair<std::string, std::function<void()>>> collective_calls(
    parallel::Communicator& communicator) {
  const int64_t n = world().size();
  const at::Tensor slice = at::zeros({4}), whole = at::zeros({4 * n});
  return {
      {"barrier", [] { world().barrier(); }},
      {"all_reduce",
       [] {
         int64_t number = 1;
         world().all_reduce({&number, 1}, World::Reduction::sum);
       }},
      {"all_reduce",
       [] {
         double number = 1;
         world().all_reduce({&number, 1}, World::Reduction::sum);
       }},
      {"broadcast",
       [] {
         std::string text = "text";
         world().broadcast(text);
       }},
      {"all_gather", [] { world().all_gather("text"); }},
      {"reduce_scatter", [=, &communicator] { communicator.reduce_scatter(whole, slice); }},
      {"all_gather", [=, &communicator] { communicator.all_gather(slice, whole); }},
      {"all_reduce", [=, &communicator] { communicator.all_reduce(whole); }},
      {"broadcast", [=, &communicator] { communicator.broadcast(whole, 0); }},
  };
}

// The root enters each call only after a second thread of every other rank has seen that rank wait in it. The
// thread tells the root by a file, since it may not call MPI.
TEST(CollectiveStatus, ShowsToAnotherThreadWhatARankWaitsIn) {
  if (world().size() == 1) GTEST_SKIP() << "needs two ranks";
  namespace fs = std::filesystem;
  std::string folder =
      (fs::path(testing::TempDir()) / fmt::format("collective_status_{}", getpid())).string();
  world().broadcast(folder);
  if (world().is_root()) fs::create_directories(folder);
  const auto communicator = parallel::make_communicator(world(), at::kCPU);
  CollectiveStatus& status = world().collective_status();
  const auto wait_until = [](const auto& holds) {
    const auto end = Clock::now() + std::chrono::seconds(60);
    while (!holds() && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return holds();
  };

  int64_t step = 0;
  for (const auto& [name, call] : collective_calls(*communicator)) {
    ++step;
    const auto file = [&, s = step](int rank) { return fs::path(folder) / fmt::format("{}.{}", s, rank); };
    status.set_step(step);
    world().barrier();
    if (world().is_root()) {
      for (int rank = 1; rank < world().size(); ++rank)
        EXPECT_TRUE(wait_until([&] { return fs::exists(file(rank)); }))
            << "rank " << rank << " was not seen in " << name << ", call " << step;
      call();
    } else {
      const auto before = Clock::now();
      std::thread watcher([&, s = step] {
        CollectiveStatus::Snapshot seen;
        const bool waits = wait_until([&] {
          seen = status.read();
          // Not the barrier before, which this rank may still be about to leave.
          return name_of(seen) == name && seen.since >= before && seen.step == s;
        });
        if (waits) std::ofstream(file(world().rank())) << name;
      });
      call();
      watcher.join();
    }
    EXPECT_EQ(status.read().name, nullptr) << name;
  }
  world().barrier();
  if (world().is_root()) fs::remove_all(folder);
}

}  // namespace
}  // namespace sisa::tests
