// When a run is saved: with a store on the disk and a few small tensors, but without training.
#include "launcher/run/checkpointer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <future>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "common/file.h"
#include "tests/checkpoint/run_folder.h"

namespace sisa::tests {
namespace {

using checkpoint::Disk;
using checkpoint::Entry;
using checkpoint::Store;
using common::Unit;
using launcher::Checkpointer;
using launcher::CheckpointSection;
using launcher::Progress;
using launcher::Reporter;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::StartsWith;

// While it lives, standard output is not shown: what the reporter says.
struct Quiet {
  Quiet() { testing::internal::CaptureStdout(); }
  ~Quiet() { testing::internal::GetCapturedStdout(); }
};

class CheckpointerTest : public RunFolder {
 protected:
  // Begins to train at `first_step`; every step is 100 tokens.
  void begin(const CheckpointSection& section, const Disk& disk = {}, int64_t first_step = 0) {
    checkpointer_.reset();  // it refers to the store
    store_ = std::make_unique<Store>(folder, world(), disk);
    checkpointer_ =
        std::make_unique<Checkpointer>(section, *store_, model_.space,
                                       Checkpointer::Run{.state =
                                                             [this] {
                                                               checkpoint::RunState now = state(now_.step);
                                                               now.tokens = now_.tokens;
                                                               now.held_out_loss = held_out_loss_;
                                                               return now;
                                                             },
                                                         .asked_to_stop = [this] { return asked_to_stop_; },
                                                         .give_up =
                                                             [this](const std::string& why) {
                                                               if (gave_up_.empty()) open();
                                                               gave_up_ = why;
                                                             }},
                                       reporter_, [this] { return clock_; });
    now_ = after(first_step);
  }
  static Progress after(int64_t step) { return {.step = step, .samples = 10 * step, .tokens = 100 * step}; }

  // One step, with all that the training loop asks the checkpointer. Whether a checkpoint fell due.
  bool step(bool last = false) {
    const Progress before = now_;
    now_ = after(now_.step + 1);
    const bool due = checkpointer_->due(before, now_);
    const Quiet quiet;
    checkpointer_->after_step(before, now_, due, last);
    return due;
  }
  void poll() {
    const Quiet quiet;
    checkpointer_->poll();
  }
  void evaluated(double loss) {
    const Quiet quiet;
    checkpointer_->evaluated(now_.step, loss);
  }
  void steps(int64_t count) {
    for (int64_t i = 0; i < count; ++i) step();
  }
  void finish() {
    const Quiet quiet;
    checkpointer_->finish(now_.step);
  }
  void resumed(int64_t step) { checkpointer_->resumed(step); }

  Entry entry(int64_t step) const {
    world().barrier();
    return store_->find(step);
  }

  // Of the checkpoints in the folder: {step: it holds moments}.
  std::map<int64_t, bool> saved() const {
    world().barrier();
    std::map<int64_t, bool> result;
    for (const Entry& entry : store_->list()) result[entry.step] = entry.has_moments;
    world().barrier();
    return result;
  }

  // The events of that kind in metrics.jsonl, which the root writes.
  std::vector<nlohmann::json> events(const std::string& kind) const {
    world().barrier();
    std::vector<nlohmann::json> result;
    std::istringstream lines(common::read_file(run / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);)
      if (auto record = nlohmann::json::parse(line); record["event"] == kind) result.push_back(record);
    world().barrier();
    return result;
  }
  std::vector<int64_t> steps_of(const std::string& kind) const {
    std::vector<int64_t> result;
    for (const auto& event : events(kind)) result.push_back(event["step"]);
    return result;
  }

  // A disk on which writes wait until open() is called.
  Disk gated() {
    Disk disk;
    disk.write = [opened = opened_](int file, const void* data, size_t size, off_t offset) -> ssize_t {
      opened.wait();
      return ::pwrite(file, data, size, offset);
    };
    return disk;
  }
  void open() { gate_.set_value(); }
  // A disk of the last rank that is full while full_ says so.
  Disk full() {
    Disk disk;
    if (world().rank() == world().size() - 1)
      disk.write = [full = full_](int file, const void* data, size_t size, off_t offset) -> ssize_t {
        if (!*full) return ::pwrite(file, data, size, offset);
        errno = ENOSPC;
        return -1;
      };
    return disk;
  }

  // Training waits for the disk, so that what is due is saved at once.
  static CheckpointSection waiting(const CheckpointSection& section) {
    CheckpointSection result = section;
    result.asynchronous = false;
    return result;
  }

  Checkpointer::Clock::time_point clock_{};  // seconds pass when a test says so
  std::optional<double> held_out_loss_;
  bool asked_to_stop_ = false;
  std::string gave_up_;  // why
  Progress now_;
  std::shared_ptr<std::atomic<bool>> full_ = std::make_shared<std::atomic<bool>>(true);

 private:
  std::promise<void> gate_;
  std::shared_future<void> opened_ = gate_.get_future().share();
  Reporter reporter_{world().is_root(), run / "metrics.jsonl"};
  ToyModel model_ = toy();
  std::unique_ptr<Store> store_;
  std::unique_ptr<Checkpointer> checkpointer_;
};

TEST_F(CheckpointerTest, SavesEverySoManySteps) {
  begin(waiting({.every = {3, Unit::steps}, .keep_last = 10}));
  steps(7);
  EXPECT_THAT(saved(), ElementsAre(Pair(3, true), Pair(6, true)));
  EXPECT_THAT(steps_of("checkpoint"), ElementsAre(3, 6));
}

TEST_F(CheckpointerTest, SavesEverySoManyTokens) {
  begin(waiting({.every = {250, Unit::tokens}, .keep_last = 10}));
  steps(6);
  EXPECT_THAT(saved(), ElementsAre(Pair(3, true), Pair(5, true)));  // past 250 and at 500
}

TEST_F(CheckpointerTest, SavesEverySoManySecondsSinceTheLastCheckpointBegan) {
  begin(waiting({.every = {60, Unit::seconds}, .keep_last = 10}));
  const auto step_after = [&](int seconds) {
    clock_ += std::chrono::seconds(seconds);
    return step();
  };
  EXPECT_FALSE(step_after(59));
  EXPECT_TRUE(step_after(1));  // 60 s
  EXPECT_FALSE(step_after(0));
  EXPECT_FALSE(step_after(59));
  EXPECT_TRUE(step_after(100));
  EXPECT_THAT(saved(), ElementsAre(Pair(2, true), Pair(5, true)));
}

TEST_F(CheckpointerTest, NeverIsAtTheEndOnly) {
  begin({.every = {0, Unit::seconds}});
  clock_ += std::chrono::hours(100);
  steps(5);
  EXPECT_THAT(saved(), IsEmpty());
  finish();
  EXPECT_THAT(saved(), ElementsAre(Pair(5, true)));
}

TEST_F(CheckpointerTest, ChosenStepsKeepTheirWeightsForEver) {
  begin(waiting(
      {.every = {4, Unit::steps}, .keep_last = 1, .save_at = {.at = {{2, Unit::steps}, {4, Unit::steps}}}}));
  steps(12);
  // Step 4 was due and chosen: a whole checkpoint that stays. Of 8 and 12 the retention keeps one.
  EXPECT_THAT(saved(), ElementsAre(Pair(2, false), Pair(4, true), Pair(12, true)));
  EXPECT_THAT(steps_of("checkpoint"), ElementsAre(2, 4, 8, 12));
  EXPECT_EQ(events("checkpoint")[0]["moments"], false);
}

TEST_F(CheckpointerTest, KeepsTheBestByTheHeldOutLossOfTheState) {
  begin(waiting({.every = {1, Unit::steps}, .keep_last = 1, .keep_best = true}));
  for (const double loss : {3., 1., 2., 4.}) {
    held_out_loss_ = loss;
    step();
  }
  EXPECT_THAT(saved(), ElementsAre(Pair(2, true), Pair(4, true)));
}

TEST_F(CheckpointerTest, OneThatFallsDueWhileAnotherRunsWaitsForIt) {
  begin({.every = {2, Unit::steps}, .keep_last = 10}, gated());
  steps(5);  // due at 2 and at 4; the disk holds the first up
  EXPECT_THAT(saved(), IsEmpty());
  EXPECT_THAT(steps_of("checkpoint"), IsEmpty());
  open();
  while (steps_of("checkpoint").empty()) step();
  // The step after which the first was done saves at once, though none fell due at that step alone.
  const int64_t second = now_.step;
  EXPECT_GE(second, 6);
  finish();
  EXPECT_THAT(steps_of("checkpoint"), testing::Contains(second));
  EXPECT_TRUE(saved().contains(2));
  EXPECT_FALSE(saved().contains(4));
  EXPECT_TRUE(saved().contains(second));
}

TEST_F(CheckpointerTest, AChosenStepWaitsForTheSaveThatRuns) {
  begin({.every = {2, Unit::steps}, .keep_last = 10, .save_at = {.at = {{3, Unit::steps}}}}, gated());
  steps(2);
  open();
  step();
  EXPECT_THAT(steps_of("checkpoint"), ElementsAre(2));  // done, however long it took
  finish();
  EXPECT_THAT(saved(), ElementsAre(Pair(2, true), Pair(3, true)));
}

TEST_F(CheckpointerTest, AFailureCostsTheCheckpointAndNotTheRun) {
  begin(waiting({.every = {2, Unit::steps}, .keep_last = 10}), full());
  steps(3);  // tries at step 2, and not after every step
  EXPECT_THAT(steps_of("checkpoint_failed"), ElementsAre(2));
  EXPECT_THAT(events("checkpoint_failed")[0]["text"],
              AllOf(StartsWith("The checkpoint of step 2 was not saved."), HasSubstr("No space left")));
  world().barrier();
  *full_ = false;
  steps(1);
  EXPECT_THAT(saved(), ElementsAre(Pair(4, true)));
  EXPECT_THAT(steps_of("checkpoint_failed"), ElementsAre(2));
}

TEST_F(CheckpointerTest, AFailureInTheBackgroundIsToldToo) {
  begin({.every = {2, Unit::steps}, .keep_last = 10}, full());
  steps(2);
  while (steps_of("checkpoint_failed").empty()) step();
  world().barrier();
  *full_ = false;
  finish();
  EXPECT_THAT(saved(), testing::Contains(Pair(now_.step, true)));
}

TEST_F(CheckpointerTest, TheLastStateIsSavedOrTheProcessFails) {
  begin({.every = {2, Unit::steps}, .keep_last = 10}, full());
  steps(2);
  // The running save fails with a warning, the last one with an error.
  EXPECT_THAT(error_of([&] { finish(); }), StartsWith("The checkpoint of step 2 was not saved."));
  EXPECT_THAT(steps_of("checkpoint_failed"), ElementsAre(2));
  world().barrier();
  *full_ = false;
  finish();
  EXPECT_THAT(saved(), ElementsAre(Pair(2, true)));
}

TEST_F(CheckpointerTest, WeightsAloneAreNotTheLastState) {
  begin(waiting({.every = {0, Unit::steps}, .save_at = {.at = {{2, Unit::steps}}}}));
  steps(2);
  EXPECT_THAT(saved(), ElementsAre(Pair(2, false)));
  finish();
  EXPECT_THAT(saved(), ElementsAre(Pair(2, true)));
}

TEST_F(CheckpointerTest, WhatIsSavedIsNotSavedAgainAtTheEnd) {
  begin({.every = {2, Unit::steps}, .keep_last = 10});
  steps(2);
  finish();
  EXPECT_THAT(steps_of("checkpoint"), ElementsAre(2));
  begin({.every = {2, Unit::steps}, .keep_last = 10}, {}, /*first_step=*/2);
  resumed(2);
  finish();
  EXPECT_THAT(steps_of("checkpoint"), ElementsAre(2));
  begin({.every = {2, Unit::steps}, .keep_last = 10}, {}, /*first_step=*/2);
  finish();  // as a child of another run, it has none of its own
  EXPECT_THAT(steps_of("checkpoint"), ElementsAre(2, 2));
}

TEST_F(CheckpointerTest, AChosenStepStaysForEverIfTheProcessEndsThere) {
  const CheckpointSection section{
      .every = {0, Unit::steps}, .keep_last = 1, .save_at = {.at = {{2, Unit::steps}}}};
  begin(section);
  step();
  step(/*last=*/true);
  finish();
  EXPECT_THAT(saved(), ElementsAre(Pair(2, true)));
  EXPECT_TRUE(entry(2).kept);
  EXPECT_THAT(steps_of("checkpoint"), ElementsAre(2)) << "once";
  begin(section, {}, /*first_step=*/2);
  resumed(2);
  for (int i = 0; i < 2; ++i) {
    step();
    finish();
  }
  EXPECT_THAT(saved(), ElementsAre(Pair(2, true), Pair(4, true)));
}

TEST_F(CheckpointerTest, AHeldOutLossReachesItsCheckpointLater) {
  begin({.every = {2, Unit::steps}, .keep_last = 1, .keep_best = true}, gated());
  steps(2);
  evaluated(1.5);  // while the disk holds the save up
  open();
  while (steps_of("checkpoint").empty()) poll();
  steps(1);
  finish();
  EXPECT_EQ(entry(2).held_out_loss, 1.5);  // and it stays, as the best
  EXPECT_THAT(saved(), ElementsAre(Pair(2, true), Pair(3, true)));
}

TEST_F(CheckpointerTest, TheLossOfTheLastStepIsInItsCheckpoint) {
  begin({.every = {2, Unit::steps}, .keep_last = 10});
  steps(1);
  evaluated(3);  // no checkpoint is made of this step
  step(/*last=*/true);
  evaluated(1.25);
  finish();
  EXPECT_EQ(entry(2).held_out_loss, 1.25);
  EXPECT_THAT(steps_of("remark"), IsEmpty());
}

TEST_F(CheckpointerTest, ADiskThatDoesNotAnswerIsReportedMoreAndMoreRarely) {
  CheckpointSection section{.every = {1, Unit::steps}, .keep_last = 10};
  section.patience = 1;
  begin(section, gated());
  const auto start = std::chrono::steady_clock::now();
  while (events("checkpoint_stalled").size() < 2) {
    step();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  const auto told = events("checkpoint_stalled");
  EXPECT_EQ(told[0]["step"], 1);
  EXPECT_GE(told[0]["seconds"], 1);
  EXPECT_GE(told[1]["seconds"], 2 * told[0]["seconds"].get<double>());
  EXPECT_GT(told[1]["waiting"], told[0]["waiting"].get<int64_t>());
  EXPECT_THAT(saved(), IsEmpty());
  open();
  finish();
  EXPECT_THAT(saved(), testing::Contains(Pair(now_.step, true)));
}

TEST_F(CheckpointerTest, ASignalEndsTheWaitForADiskThatDoesNotAnswer) {
  CheckpointSection section{.every = {1, Unit::steps}, .keep_last = 10};
  section.patience = 1;
  begin(section, gated());
  steps(1);
  asked_to_stop_ = true;
  finish();  // gives up, upon which this test opens the disk
  EXPECT_THAT(gave_up_,
              AllOf(StartsWith("The disk has not answered for 1."), HasSubstr("checkpoint of step 1")));
}

TEST_F(CheckpointerTest, ReportsWhatASaveCost) {
  begin(waiting({.every = {1, Unit::steps}}));
  step();
  const auto record = events("checkpoint").at(0);
  EXPECT_GT(record["bytes"], 0);
  EXPECT_GT(record["mb_per_second"], 0);
  EXPECT_LE(record["seconds_blocked"], record["seconds"].get<double>() + 1);
}

}  // namespace
}  // namespace sisa::tests
