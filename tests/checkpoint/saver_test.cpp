// Saves that are written while training goes on.
#include "checkpoint/saver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <future>
#include <thread>

#include "common/file.h"
#include "tests/checkpoint/run_folder.h"

namespace sisa::tests {
namespace {

namespace fs = std::filesystem;
using checkpoint::Disk;
using checkpoint::Entry;
using checkpoint::Saver;
using checkpoint::SaveReport;
using checkpoint::Store;
using common::Precision;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

class SaverTest : public RunFolder {
 protected:
  // Writes wait until open() is called.
  Disk gated() {
    Disk disk;
    disk.write = [this](int file, const void* data, size_t size, off_t offset) -> ssize_t {
      opened_.wait();
      return ::pwrite(file, data, size, offset);
    };
    return disk;
  }
  void open() { gate_.set_value(); }

  std::vector<int64_t> steps() const {
    std::vector<int64_t> result;
    for (const Entry& entry : Store(folder, world()).list()) result.push_back(entry.step);
    return result;
  }

 private:
  std::promise<void> gate_;
  std::shared_future<void> opened_ = gate_.get_future().share();
};

TEST_F(SaverTest, SavesTheStateOfTheStartWhileTrainingChangesIt) {
  for (const auto& options : {ToyModel::Options{}, ToyModel::Options{.precision = Precision::bf16},
                              ToyModel::Options{.sharded = false, .pad_to = 16}}) {
    const Store store(folder, world());
    ToyModel model = toy(options);
    model.fill();
    Saver saver(store);
    saver.start(state(3), model.space);
    EXPECT_TRUE(saver.running());
    for (parallel::FlatRange& range : model.space.ranges()) {
      range.values.detach().fill_(-1);
      range.masters.detach().fill_(-1);
      range.moment1.fill_(-1);
    }
    saver.finish();
    EXPECT_FALSE(saver.running());
    ToyModel loaded = toy(options);
    store.load(store.find(3), loaded.space, *communicator);
    loaded.expect_filled(options.precision);
  }
}

TEST_F(SaverTest, TrainingDoesNotWaitForTheDisk) {
  const Store store(folder, world(), gated());
  ToyModel model = toy();
  model.fill();
  Saver saver(store);
  saver.start(state(1), model.space);  // would never return
  for (int step = 0; step < 5; ++step) EXPECT_FALSE(saver.poll());
  EXPECT_THAT(steps(), IsEmpty());
  open();
  const SaveReport report = saver.finish();
  EXPECT_EQ(report.step, 1);
  EXPECT_TRUE(report.moments);
  EXPECT_GT(report.bytes, 0);
  EXPECT_GE(report.seconds, 0);
  EXPECT_GE(report.seconds_blocked, 0);
  world().barrier();
  EXPECT_THAT(steps(), testing::ElementsAre(1));
  EXPECT_TRUE(store.verify(store.find(1)).sound());
}

TEST_F(SaverTest, PollingAloneBringsASaveToItsEnd) {
  const Store store(folder, world());
  ToyModel model = toy();
  Saver saver(store);
  saver.start(state(1), model.fill().space);
  std::optional<SaveReport> report;
  while (!report) report = saver.poll();
  EXPECT_EQ(report->step, 1);
  EXPECT_FALSE(saver.running());
}

TEST_F(SaverTest, AFailureIsToldOnAllRanksAndTheNextSaveWorks) {
  auto full = std::make_shared<std::atomic<bool>>(true);
  Disk disk;
  if (world().rank() == world().size() - 1)
    disk.write = [full](int file, const void* data, size_t size, off_t offset) -> ssize_t {
      if (!*full) return ::pwrite(file, data, size, offset);
      errno = ENOSPC;
      return -1;
    };
  const Store store(folder, world(), disk);
  ToyModel model = toy();
  model.fill();
  Saver saver(store);
  saver.start(state(1), model.space);
  EXPECT_THAT(error_of([&] { saver.finish(); }), AllOf(HasSubstr("The checkpoint of step 1 was not saved."),
                                                       HasSubstr("No space left on device")));
  EXPECT_FALSE(saver.running());
  on_root([&] { EXPECT_TRUE(fs::is_empty(folder)) << "something was left"; });
  *full = false;
  EXPECT_EQ(saver.save(state(2), model.space).step, 2);
}

TEST_F(SaverTest, AnAbandonedSaveLeavesNoCheckpointAndIsClearedByTheNext) {
  ToyModel model = toy();
  model.fill();
  {
    const Store store(folder, world(), gated());
    Saver saver(store);
    saver.start(state(1), model.space);
    open();
  }  // as when an exception ends the run
  world().barrier();
  EXPECT_THAT(steps(), IsEmpty());
  save(2);
  on_root([&] { EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 2) << "step-2 and latest"; });
}

TEST_F(SaverTest, WeightsSavedToBeKeptAreNotResumedFromAndStay) {
  const Store store(folder, world());
  ToyModel model = toy();
  model.fill();
  Saver saver(store);
  saver.save(state(1), model.space);
  EXPECT_FALSE(saver.save(state(2), model.space, {.moments = false, .keep = true}).moments);
  EXPECT_EQ(store.latest_sound().sound->step, 1);
  world().barrier();
  EXPECT_EQ(common::read_file(folder / "latest"), "step-1\n");
  for (const int64_t step : {3, 4}) saver.save(state(step), model.space, {.retention = {.keep_last = 1}});
  world().barrier();
  EXPECT_THAT(steps(), testing::UnorderedElementsAre(2, 4));
}

TEST_F(SaverTest, TheHeldOutLossIsStored) {
  const Store store(folder, world());
  ToyModel model = toy();
  model.fill();
  checkpoint::RunState with_loss = state(1);
  with_loss.held_out_loss = 2.5;
  Saver saver(store);
  saver.save(with_loss, model.space);
  saver.save(state(2), model.space);
  EXPECT_EQ(store.find(1).held_out_loss, 2.5);
  EXPECT_FALSE(store.find(2).held_out_loss.has_value());
}

TEST_F(SaverTest, AHeldOutLossIsAddedAfterwards) {
  const Store store(folder, world());
  ToyModel model = toy();
  model.fill();
  Saver saver(store);
  for (const int64_t step : {1, 2}) saver.save(state(step), model.space);
  const Entry before = store.find(1);
  saver.add_held_out_loss(1, 2.5, {.keep_last = 1, .keep_best = true});
  EXPECT_TRUE(saver.running());
  const SaveReport report = saver.finish();
  EXPECT_TRUE(report.amends);
  EXPECT_THAT(report.remarks, IsEmpty());
  world().barrier();
  const Entry after = store.find(1);
  EXPECT_EQ(after.held_out_loss, 2.5);
  EXPECT_EQ(after.sequence, before.sequence);
  EXPECT_EQ(store.latest()->step, 2);
  EXPECT_TRUE(store.verify(after).sound());
  ToyModel loaded = toy();
  EXPECT_EQ(store.load(after, loaded.space, *communicator).held_out_loss, 2.5);
  loaded.expect_filled(Precision::fp32);
  // The rules count it at once: step 1 has become the best, and step 3 is better.
  saver.save(state(3), model.space, {.retention = {.keep_last = 1, .keep_best = true}});
  world().barrier();
  EXPECT_THAT(steps(), testing::UnorderedElementsAre(1, 3));
  saver.add_held_out_loss(3, 2, {.keep_last = 1, .keep_best = true});
  saver.finish();
  world().barrier();
  EXPECT_THAT(steps(), testing::ElementsAre(3));
}

TEST_F(SaverTest, ALossThatCannotBeAddedLeavesTheCheckpointAsItWas) {
  Disk disk;
  auto full = std::make_shared<std::atomic<bool>>(false);
  disk.write = [full](int file, const void* data, size_t size, off_t offset) -> ssize_t {
    if (!*full) return ::pwrite(file, data, size, offset);
    errno = ENOSPC;
    return -1;
  };
  const Store store(folder, world(), disk);
  ToyModel model = toy();
  Saver saver(store);
  saver.save(state(1), model.fill().space);
  *full = true;
  for (const int64_t step : {1, 7}) {
    saver.add_held_out_loss(step, 2.5, {});
    EXPECT_THAT(saver.finish().remarks,
                testing::ElementsAre(HasSubstr("The held-out loss of step " + std::to_string(step) +
                                               " is not in its checkpoint.")));
  }
  world().barrier();
  EXPECT_TRUE(store.verify(store.find(1)).sound());
  EXPECT_FALSE(store.find(1).held_out_loss.has_value());
}

// "For ever" does not end when the step is saved again.
TEST_F(SaverTest, WhatReplacesAKeptCheckpointIsKept) {
  const Store store(folder, world());
  ToyModel model = toy();
  model.fill();
  Saver saver(store);
  saver.save(state(1), model.space, {.moments = false, .keep = true});
  saver.save(state(1), model.space);
  for (const int64_t step : {2, 3}) saver.save(state(step), model.space, {.retention = {.keep_last = 1}});
  world().barrier();
  EXPECT_TRUE(store.find(1).kept);
  EXPECT_TRUE(store.find(1).has_moments);
  EXPECT_THAT(steps(), testing::UnorderedElementsAre(1, 3));
}

TEST_F(SaverTest, ASilentDiskIsNoticedOnAllRanks) {
  const Store store(folder, world(), gated());
  ToyModel model = toy();
  Saver saver(store);
  saver.start(state(1), model.fill().space);
  EXPECT_FALSE(saver.poll());
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_FALSE(saver.poll());
  EXPECT_GE(saver.seconds_stalled(), 0.25);
  double same[] = {saver.seconds_stalled(), -saver.seconds_stalled()};
  world().all_reduce(same, parallel::World::Reduction::max);
  EXPECT_EQ(same[0], -same[1]);
  world().barrier();
  open();
  saver.finish();
  EXPECT_EQ(saver.seconds_stalled(), 0);
}

// A file server that is gone does not even say how much space it has.
TEST_F(SaverTest, TrainingDoesNotWaitForTheFolder) {
  std::promise<void> gate;
  const std::shared_future<void> opened = gate.get_future().share();
  Disk disk;
  disk.available = [opened](const fs::path&) {
    opened.wait();
    return uintmax_t{1} << 40;
  };
  const Store store(folder, world(), disk);
  ToyModel model = toy();
  Saver saver(store);
  saver.start(state(1), model.fill().space);
  for (int step = 0; step < 3; ++step) EXPECT_FALSE(saver.poll());
  gate.set_value();
  EXPECT_EQ(saver.finish().step, 1);
}

// The retention rules, applied to entries without files.
std::vector<Entry> run_of(
    const std::vector<double>& losses) {  // steps 1, 2, … of 100 tokens each; 0: not evaluated
  std::vector<Entry> entries;
  for (size_t i = 0; i < losses.size(); ++i) {
    Entry entry{.step = static_cast<int64_t>(i) + 1};
    entry.tokens = entry.step * 100;
    entry.has_moments = true;
    if (losses[i] > 0) entry.held_out_loss = losses[i];
    entries.push_back(entry);
  }
  return entries;
}

std::vector<int64_t> left(std::vector<Entry> entries, const checkpoint::Retention& retention) {
  for (const Entry& gone : superfluous(entries, retention))
    std::erase_if(entries, [&](const Entry& entry) { return entry.step == gone.step; });
  std::vector<int64_t> steps;
  for (const Entry& entry : entries) steps.push_back(entry.step);
  return steps;
}

TEST(Retention, KeepsWhatAnyRuleKeeps) {
  using testing::ElementsAre;
  const std::vector<Entry> entries = run_of({5, 4, 0, 2, 3, 3, 3, 3});
  EXPECT_THAT(left(entries, {}), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(left(entries, {.keep_last = 2}), ElementsAre(7, 8));
  EXPECT_THAT(left(entries, {.keep_last = 20}), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(left(entries, {.keep_last = 1, .keep_best = true}), ElementsAre(4, 8));
  EXPECT_THAT(left(entries, {.keep_last = 1, .keep_every = 250}), ElementsAre(3, 5, 8));
  EXPECT_THAT(left(entries, {.keep_last = 1, .keep_every = 250, .keep_best = true}), ElementsAre(3, 4, 5, 8));
}

TEST(Retention, ComesToTheSameStepByStep) {
  const checkpoint::Retention retention{.keep_last = 2, .keep_every = 300, .keep_best = true};
  const std::vector<Entry> entries = run_of({5, 4, 4.5, 3, 2, 6, 1, 2, 2, 2, 2});
  std::vector<Entry> present;
  for (const Entry& entry : entries) {
    present.push_back(entry);
    for (const Entry& gone : superfluous(present, retention))
      std::erase_if(present, [&](const Entry& e) { return e.step == gone.step; });
  }
  EXPECT_EQ(left(present, {}), left(entries, retention));
}

TEST(Retention, LeavesWhatIsIncompleteOrKept) {
  std::vector<Entry> entries = run_of({0, 0, 0, 0});
  entries[0].problem = "torn";
  entries[1].kept = true;
  EXPECT_THAT(left(entries, {.keep_last = 1}), testing::ElementsAre(1, 2, 4));
  entries[3].kept = true;  // it is the last all the same, unless it holds weights alone
  EXPECT_THAT(left(entries, {.keep_last = 1}), testing::ElementsAre(1, 2, 4));
  entries[3].has_moments = false;
  EXPECT_THAT(left(entries, {.keep_last = 1}), testing::ElementsAre(1, 2, 3, 4));
}

}  // namespace
}  // namespace sisa::tests
