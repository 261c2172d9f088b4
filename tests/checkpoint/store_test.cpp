#include "checkpoint/store.h"
#include "checkpoint/saver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "checkpoint/master_file.h"
#include "common/file.h"
#include "tests/checkpoint/run_folder.h"

namespace sisa::tests {
namespace {

namespace fs = std::filesystem;
using checkpoint::Entry;
using checkpoint::Saver;
using checkpoint::Store;
using common::Precision;
using testing::ElementsAre;
using testing::HasSubstr;

class StoreTest : public RunFolder {
 protected:
  std::vector<int64_t> steps() const {
    std::vector<int64_t> out;
    for (const Entry& e : store.list()) out.push_back(e.step);
    return out;
  }
  Store store{folder, world()};
};

TEST_F(StoreTest, WhatIsLoadedIsWhatWasSavedBitForBit) {
  int64_t step = 0;
  for (const auto precision : {Precision::fp32, Precision::bf16, Precision::bf16_pure, Precision::fp64})
    for (const bool sharded : {true, false}) {
      const ToyModel::Options options{.precision = precision, .sharded = sharded};
      const auto report = Saver(store).save(state(++step), toy(options).fill().space);
      EXPECT_THAT(report.remarks, testing::IsEmpty());
      const auto entry = store.latest();
      ASSERT_TRUE(entry.has_value());
      EXPECT_EQ(entry->step, step);
      EXPECT_EQ(entry->bytes, report.bytes);
      EXPECT_TRUE(entry->has_moments);

      ToyModel loaded = toy(options);
      const checkpoint::RunState back = store.load(*entry, loaded.space, *communicator);
      loaded.expect_filled(precision);
      loaded.expect_values(precision);
      const checkpoint::RunState saved = state(step);
      EXPECT_EQ(back.step, saved.step);
      EXPECT_EQ(back.updates, saved.updates);
      EXPECT_EQ(back.samples, saved.samples);
      EXPECT_EQ(back.tokens, saved.tokens);
      EXPECT_EQ(back.recipe, saved.recipe);
      EXPECT_EQ(back.code_version, saved.code_version);
      EXPECT_EQ(back.extra, saved.extra);
    }
}

TEST_F(StoreTest, TheFolderHoldsTheFilesThatAreDocumented) {
  save(500);
  on_root([&] {
    std::vector<std::string> names;
    for (const auto& file : fs::directory_iterator(folder / "step-500"))
      names.push_back(file.path().filename().string());
    std::sort(names.begin(), names.end());
    ASSERT_EQ(names.size(), static_cast<size_t>(world().size()) + 1);
    EXPECT_EQ(names[0], "master.h5");
    EXPECT_EQ(names[1], "rank-00000.h5");
    EXPECT_EQ(common::read_file(folder / "latest"), "step-500\n");
    EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 2);
  });
}

TEST_F(StoreTest, AnEmptyOrMissingFolderHasNoCheckpoints) {
  EXPECT_THAT(store.list(), testing::IsEmpty());
  EXPECT_FALSE(store.latest().has_value());
  EXPECT_FALSE(store.latest_sound().sound.has_value());
  EXPECT_THAT(error_of([&] { store.find(3); }), HasSubstr("There is no checkpoint in"));
}

TEST_F(StoreTest, FindNamesTheStepsThatThereAre) {
  save(10);
  save(9);
  EXPECT_EQ(store.find(9).step, 9);
  EXPECT_THAT(error_of([&] { store.find(11); }), HasSubstr("Choose one of these steps: 9, 10."));
}

// A run that goes back to step 100 and continues from there: the checkpoint that it writes then is the
// newest.
TEST_F(StoreTest, TheNewestIsTheOneWrittenLastAndNotTheHighestStep) {
  for (const int64_t step : {100, 200, 300, 150}) save(step);
  EXPECT_THAT(steps(), ElementsAre(100, 200, 300, 150));
  EXPECT_EQ(store.latest()->step, 150);
  EXPECT_EQ(store.latest_sound().sound->step, 150);
}

TEST_F(StoreTest, ACheckpointOfTheSameStepIsReplaced) {
  save(5);
  ToyModel other = toy({.precision = Precision::fp64});
  Saver(store).save(state(5), other.fill().space);
  EXPECT_THAT(steps(), ElementsAre(5));
  ToyModel loaded = toy({.precision = Precision::fp64});
  store.load(*store.latest(), loaded.space, *communicator);
  loaded.expect_filled(Precision::fp64);
  EXPECT_EQ(checkpoint::read_master(folder / "step-5").precision, "fp64");
  on_root([&] { EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 2); });
}

TEST_F(StoreTest, RetentionKeepsTheLast) {
  for (int64_t step = 1; step <= 4; ++step) save(step);
  save(5, {.retention = {.keep_last = 3}});
  EXPECT_THAT(steps(), ElementsAre(3, 4, 5));
  save(2, {.retention = {.keep_last = 1}});
  EXPECT_THAT(steps(), ElementsAre(2));
  on_root([&] { EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 2); });
}

TEST_F(StoreTest, AFailedDeletionIsOnlyRemarkedUpon) {
  checkpoint::Disk disk;
  disk.remove = [](const fs::path& path) {
    throw fs::filesystem_error("cannot remove", path,
                               std::make_error_code(std::errc::device_or_resource_busy));
  };
  save(1);
  Store stubborn(folder, world(), disk);
  const auto report = Saver(stubborn).save(state(2), toy().fill().space, {.retention = {.keep_last = 1}});
  ASSERT_EQ(report.remarks.size(), 1u);
  EXPECT_THAT(report.remarks[0], testing::AllOf(HasSubstr("Could not delete"), HasSubstr("step-1")));
  EXPECT_THAT(steps(), ElementsAre(2));  // out of sight already, and gone with the next save
  save(3);
  on_root([&] { EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 3); });
}

TEST_F(StoreTest, LeftoversOfAKilledRunAreRemovedByTheNextSave) {
  on_root([&] {
    fs::create_directories(folder / "step-7.tmp-123");
    common::write_file_atomically(folder / "step-7.tmp-123" / "rank-00000.h5", "torn");
    common::write_file_atomically(folder / "latest.tmp-9", "step");
    fs::create_directories(folder / "step-007");
    fs::create_directories(folder / "notes");
  });
  EXPECT_THAT(store.list(), testing::IsEmpty());
  save(8);
  EXPECT_THAT(steps(), ElementsAre(8));
  on_root([&] {
    EXPECT_FALSE(fs::exists(folder / "step-7.tmp-123"));
    EXPECT_FALSE(fs::exists(folder / "latest.tmp-9"));
    EXPECT_TRUE(fs::exists(folder / "notes"));
  });
}

TEST_F(StoreTest, WeightsAloneCannotResumeButCanStart) {
  save(1, {.moments = false});
  const Entry entry = *store.latest();
  EXPECT_FALSE(entry.has_moments);
  ToyModel training = toy();
  EXPECT_THAT(error_of([&] { store.load(entry, training.space, *communicator); }),
              HasSubstr("holds weights only, without the optimizer's moments"));
  store.load(entry, training.space, *communicator, {.moments = false});
  training.expect_filled(Precision::fp32, false);
  ToyModel reading = toy({.precision = Precision::bf16, .training = false});
  store.load(entry, reading.space, *communicator);
  reading.expect_values(Precision::fp32);
}

TEST_F(StoreTest, AnotherModelIsRefusedOnAllRanks) {
  save(1);
  ToyModel other = toy({.d_model = 12});
  EXPECT_THAT(
      error_of([&] { store.load(*store.latest(), other.space, *communicator); }),
      testing::AllOf(HasSubstr("step-1 is of another model than this recipe's: embedding.weight is (37, 10) "
                               "there and (37, 12) here"),
                     HasSubstr("system: sisa, d_model: 10"), testing::Not(HasSubstr("Rank"))));
}

TEST_F(StoreTest, InspectShowsStateArraysAndRecipe) {
  save(1200);
  const std::string text = store.inspect(*store.latest());
  EXPECT_THAT(text, HasSubstr("step 1,200, 1,199 updates, 9,600 samples, 960,000 tokens"));
  EXPECT_THAT(text, HasSubstr(world().size() == 1 ? "UTC by 1 rank in fp32, code test"
                                                  : fmt::format("UTC by {} ranks in fp32", world().size())));
  EXPECT_THAT(text, HasSubstr("in 7 arrays of 603 elements, with moments"));
  EXPECT_THAT(text, HasSubstr("  layers.0.rotation     float32   (3, 4, 5)\n"));
  EXPECT_THAT(text, HasSubstr("max_tokens: 5B tokens"));
}

// read_with_h5py.py runs this test with a folder that remains.
TEST_F(StoreTest, WritesWhatH5pyReads) {
  if (const char* kept = std::getenv("SISA_TEST_CHECKPOINTS")) folder = kept;
  Saver(Store(folder, world())).save(state(500), toy().fill().space);
  Saver(Store(folder, world())).save(state(501), toy({.precision = Precision::bf16_pure}).fill().space);
  EXPECT_TRUE(store.verify(Store(folder, world()).find(501)).sound());
}

}  // namespace
}  // namespace sisa::tests
