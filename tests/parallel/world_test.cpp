#include "parallel/world.h"

#include <c10/util/Exception.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <stdexcept>

#include "common/error.h"
#include "common/threads.h"
#include "tests/mpi_world.h"

namespace sisa::tests {
namespace {

using parallel::World;
using testing::HasSubstr;

// The error that together() throws on this rank.
struct Caught {
  std::string text;
  int status = 0;
};
Caught caught(const std::function<void()>& work) {
  try {
    world().together(work);
  } catch (const Error& error) {
    return {error.what(), error.status()};
  }
  return {};
}

TEST(World, KnowsItsPlace) {
  EXPECT_GE(world().rank(), 0);
  EXPECT_LT(world().rank(), world().size());
  EXPECT_EQ(world().is_root(), world().rank() == 0);
  EXPECT_EQ(world().local_size(), world().size()) << "the tests run on one host";
  EXPECT_EQ(world().local_rank(), world().rank());
  EXPECT_FALSE(world().host().empty());
  EXPECT_GE(world().core_share(), 1);
  EXPECT_LE(world().core_share() * world().size(), std::max(world().size(), common::available_cores()));
  world().barrier();
}

TEST(World, IsTheOnlyOne) {
  EXPECT_THROW(World(), c10::Error);
}

TEST(World, ReducesNumbers) {
  const int n = world().size(), r = world().rank();
  int64_t whole[] = {r, -r, int64_t{1} << 60};
  world().all_reduce(whole, World::Reduction::max);
  EXPECT_THAT(whole, testing::ElementsAre(n - 1, 0, int64_t{1} << 60));
  int64_t least = r + 5;
  world().all_reduce({&least, 1}, World::Reduction::min);
  EXPECT_EQ(least, 5);
  double sums[] = {0.5, static_cast<double>(r)};
  world().all_reduce(sums, World::Reduction::sum);
  EXPECT_THAT(sums, testing::ElementsAre(0.5 * n, 0.5 * n * (n - 1)));
}

TEST(World, SpreadsTexts) {
  const int last = world().size() - 1;
  const std::string long_text = fmt::format("{:>100000}{}end", "start", '\0');
  for (const int root : {0, last}) {
    std::string text = world().rank() == root ? long_text : "other";
    world().broadcast(text, root);
    EXPECT_EQ(text, long_text);
    text = world().rank() == root ? "" : "other";
    world().broadcast(text, root);
    EXPECT_EQ(text, "");
  }
}

TEST(World, GathersTexts) {
  using Text = std::function<std::string(int rank)>;
  const Text empty = [](int) { return std::string(); };
  // The root's text is empty.
  const Text growing = [](int rank) { return std::string(static_cast<size_t>(rank), 'r'); };
  const Text shrinking = [](int rank) {
    return fmt::format("{}{}!", '\0', std::string(50 / (rank + 1), 'x'));
  };
  const Text long_ones = [](int rank) { return fmt::format("{:>100000}", rank); };
  const Text only_the_last = [](int rank) { return rank == world().size() - 1 ? "last" : ""; };
  for (const Text& text : {empty, growing, shrinking, long_ones, only_the_last}) {
    std::vector<std::string> expected;
    for (int r = 0; r < world().size(); ++r) expected.push_back(text(r));
    const std::string own = text(world().rank());
    EXPECT_EQ(world().all_gather(own), expected);
    if (own.size() > 1000) continue;
    for (const int max_bytes : {world().size(), 3 * world().size() + 1})
      EXPECT_EQ(world().all_gather(own, max_bytes), expected) << "in calls of " << max_bytes << " bytes";
  }
  EXPECT_THROW(world().all_gather("", world().size() - 1), c10::Error);
}

TEST(Together, DoesTheWorkOnce) {
  int calls = 0;
  EXPECT_EQ(caught([&] { ++calls; }).text, "");
  EXPECT_EQ(calls, 1);
}

TEST(Together, SharesTheErrorOfOneRank) {
  const int last = world().size() - 1;
  const Caught c = caught([&] {
    if (world().rank() == last) throw Error("The disk is full.", common::try_again);
  });
  if (world().size() > 1)
    EXPECT_EQ(c.text, fmt::format("Rank {} ({}): The disk is full.", last, world().host()));
  else
    EXPECT_EQ(c.text, "The disk is full.");
  EXPECT_EQ(c.status, common::try_again);
}

TEST(Together, GivesAnErrorOfAllRanksOnce) {
  const Caught c = caught([] { throw Error("No such file."); });
  EXPECT_EQ(c.text, "No such file.");
  EXPECT_EQ(c.status, common::users_mistake);
}

TEST(Together, PrefersTheLowestRank) {
  if (world().size() == 1) GTEST_SKIP() << "needs two ranks";
  const Caught c = caught([] {
    if (world().rank() == 0) throw Error("Found 0 at rank 0.", common::users_mistake);
    throw Error(fmt::format("Found {} there.", world().rank()), common::try_again);
  });
  EXPECT_EQ(c.text, fmt::format("Rank 0 ({}): Found 0 at rank 0.", world().host()));
  EXPECT_EQ(c.status, common::users_mistake);
}

TEST(Together, TakesOtherExceptionsForFailures) {
  const Caught c = caught([] { throw std::length_error("too long"); });
  EXPECT_EQ(c.text, "too long");
  EXPECT_EQ(c.status, common::failure);
}

TEST(World, ReportsWhatMpiRefuses) {
  std::string text = "text";
  try {
    world().broadcast(text, 99);
    FAIL() << "there is no rank 99";
  } catch (const SystemError& error) {
    EXPECT_THAT(error.what(), HasSubstr("MPI_Bcast(&size"));
    EXPECT_THAT(error.what(), HasSubstr(fmt::format("on rank {} ({})", world().rank(), world().host())));
    EXPECT_THAT(error.what(), HasSubstr("MPI_ERR_ROOT"));
  }
}

}  // namespace
}  // namespace sisa::tests
