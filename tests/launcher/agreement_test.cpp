#include "launcher/run/agreement.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/text.h"
#include "tests/launcher/refusal.h"
#include "tests/mpi_world.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using tests::refusal;
using tests::world;

constexpr const char* advice = "Mend it.";

// Every rank must end with the same sentence.
std::string shared_refusal(const std::function<void()>& work) {
  const std::string text = refusal(work);
  for (const std::string& other : world().all_gather(text)) EXPECT_EQ(other, text);
  return text;
}

TEST(Agreement, EqualFactsPass) {
  require_agreement(world(), {}, advice);
  require_agreement(world(), {{"run.seed", "1"}, {"data", std::string(100'000, 'x')}}, advice);
  require_agreement(world(), {program_fact()}, advice);
  require_agreement(world(), recipe_facts(parse_recipe("run: {seed: 1}", "r.yaml")), advice);
}

TEST(Agreement, NamesWhoDiffersAndInWhat) {
  if (world().size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  const bool last = world().rank() == world().size() - 1;
  const std::string text = shared_refusal([&] {
    require_agreement(
        world(),
        {{"run.seed", last ? "2" : "1"}, {"train.batch", "128 tokens"}, {"run.output", last ? "" : "runs/a"}},
        advice);
  });
  const int rank = world().size() - 1;
  EXPECT_THAT(text, AllOf(StartsWith(fmt::format(
                              "Rank {} ({}) differs from rank 0 ({}): run.seed is 2 on rank {} and 1 on "
                              "rank 0; run.output is not given on rank {} and runs/a on rank 0. Mend it.",
                              rank, world().host(), world().host(), rank, rank)),
                          Not(HasSubstr("train.batch"))));
}

TEST(Agreement, AllThatDifferAreCounted) {
  if (world().size() < 3) GTEST_SKIP() << "needs three ranks";
  const std::string text = shared_refusal([&] {
    require_agreement(world(), {{"run.seed", world().is_root() ? "1" : "2"}}, advice);
  });
  EXPECT_THAT(text, AllOf(StartsWith("Rank 1 ("), HasSubstr("So does rank 2. Mend it.")));
}

TEST(Agreement, RanksMayHaveDifferentThingsToCompare) {
  if (world().size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  const Facts one = {{"the command", "train"}, {"--from", "a"}},
              other = {{"the command line", "`sisa evaluate a`"}};
  EXPECT_THAT(shared_refusal([&] { require_agreement(world(), world().is_root() ? one : other, advice); }),
              AllOf(HasSubstr("the command is not given on rank 1 and train on rank 0"),
                    HasSubstr("the command line is `sisa evaluate a` on rank 1 and not given on rank 0")));
}

TEST(Agreement, RecipesAreComparedKeyByKey) {
  if (world().size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  // A schedule that brings a key of its own, and a list that is printed in several lines.
  const std::string text = world().is_root() ? "data: {sources: [{path: a}, {path: b}]}\n"
                                             : "data: {sources: [{path: a}]}\ntrain: {schedule: wsd}\n";
  const Recipe recipe = parse_recipe(text, "r.yaml");
  EXPECT_THAT(
      shared_refusal([&] { require_agreement(world(), recipe_facts(recipe), advice); }),
      AllOf(HasSubstr("data.sources is [{path: a, weight: 1}] on rank 1 and [{path: a, weight: 1}, {path: b, "
                      "weight: 1}] on rank 0"),
            HasSubstr("train.schedule is wsd on rank 1 and cosine on rank 0"),
            HasSubstr("train.cooldown is 0.2 on rank 1 and not given on rank 0")));
}

TEST(Agreement, ManyDifferencesAreCutShort) {
  if (world().size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  Facts facts;
  for (int i = 0; i < 10; ++i) facts.push_back({fmt::format("key{}", i), world().is_root() ? "a" : "b"});
  EXPECT_THAT(shared_refusal([&] { require_agreement(world(), facts, advice); }),
              AllOf(HasSubstr("key5 is b"), Not(HasSubstr("key6 is b")), HasSubstr("; and 4 more")));
}

// Folders that all ranks see, gone afterwards.
class SharedFolder : public testing::Test {
 protected:
  SharedFolder() {
    std::string name = fmt::format("sisa-agreement-{}", ::getpid());
    world().broadcast(name);
    folder_ = fs::temp_directory_path() / name;
    if (world().is_root()) fs::create_directories(folder_ / "run");
    world().barrier();
  }
  ~SharedFolder() override {
    world().barrier();
    if (world().is_root()) fs::remove_all(folder_);
    world().barrier();
  }
  static constexpr std::chrono::milliseconds patience{200};
  fs::path folder_;
};

TEST_F(SharedFolder, NothingIsLeftInIt) {
  check_shared_folder(folder_ / "run", world(), patience);
  world().barrier();
  EXPECT_TRUE(fs::is_empty(folder_ / "run"));
}

TEST_F(SharedFolder, EachRanksOwnFolderIsRefused) {  // local disks
  if (world().size() == 1) GTEST_SKIP() << "needs another rank";
  const fs::path own = folder_ / fmt::format("disk-{}", world().rank());
  fs::create_directories(own);
  EXPECT_THAT(shared_refusal([&] { check_shared_folder(own, world(), patience); }),
              AllOf(StartsWith("Rank 1 ("), HasSubstr("is not the folder of this name that rank 0 ("),
                    HasSubstr("file system that all hosts share")));
  world().barrier();
  EXPECT_TRUE(fs::is_empty(own));
}

TEST_F(SharedFolder, AFolderThatARankLacksIsRefused) {
  if (world().size() == 1) GTEST_SKIP() << "needs another rank";
  const fs::path own = world().is_root() ? folder_ / "run" : folder_ / "absent";
  EXPECT_THAT(shared_refusal([&] { check_shared_folder(own, world(), patience); }),
              AllOf(StartsWith("Rank 1 ("), HasSubstr("absent, which rank 0 ("), HasSubstr("is not there")));
  EXPECT_TRUE(fs::is_empty(folder_ / "run"));
}

// A folder that may not be written is no obstacle to root, which tests may run as: a file in the way is.
TEST_F(SharedFolder, AFolderThatARankCannotWriteIsRefused) {
  if (world().is_root()) std::ofstream(folder_ / "file") << "in the way";
  world().barrier();
  const bool fails = world().rank() == world().size() - 1;
  const fs::path own = fails ? folder_ / "file" : folder_ / "run";
  EXPECT_THAT(
      shared_refusal([&] { check_shared_folder(own, world(), patience); }),
      AllOf(HasSubstr("Cannot write to " + (folder_ / "file").string()), HasSubstr("all ranks may write")));
  world().barrier();
  EXPECT_TRUE(fs::is_empty(folder_ / "run"));
}

}  // namespace
}  // namespace sisa::launcher
