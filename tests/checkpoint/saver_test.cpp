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
  EXPECT_THAT(store.verify(store.find(1)), IsEmpty());
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
  EXPECT_EQ(store.latest_sound()->step, 1);
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
