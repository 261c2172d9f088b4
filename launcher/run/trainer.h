// The training loop.
#pragma once

#include <c10/core/Device.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/store.h"
#include "common/file_lock.h"
#include "data/prefetcher.h"
#include "launcher/recipe/recipe.h"
#include "launcher/recipe/schedule.h"
#include "launcher/run/checkpointer.h"
#include "launcher/run/learner.h"
#include "launcher/run/lineage.h"
#include "launcher/run/plan.h"
#include "launcher/run/progress.h"
#include "launcher/run/reporter.h"
#include "launcher/run/restore.h"
#include "launcher/run/run_folder.h"
#include "launcher/run/signals.h"
#include "launcher/run/skipped_steps.h"
#include "launcher/run/sources.h"
#include "launcher/run/train_options.h"
#include "parallel/world.h"

namespace sisa::launcher {

// One run in one folder, on all ranks of the world. Members are collective.
class Trainer {
 public:
  // Opens everything that the recipe names and restores the run. Throws Error, the same on every rank;
  // nothing is trained or overwritten.
  Trainer(const Recipe& recipe, const TrainOptions& options, const at::Device& device,
          const parallel::World& world);

  // Trains to the end, or until options.stop_after or a signal, saving on the way, or until it no longer
  // trains (SkippedSteps). Returns the exit status: 0, 128 + signal, or failure if too many steps were
  // skipped.
  int run();

 private:
  using Clock = std::chrono::steady_clock;
  // What comes after a step, as the ranks have agreed.
  struct Decision {
    bool save = false;  // a checkpoint falls due
    bool stop = false;  // a signal came, or options.stop_after is reached
  };

  bool complete() const { return recipe_.steps_left(progress_.tokens) == 0; }
  void request_batches();
  StepReport step();
  StepReport measure(const StepResult& result, double lr_factor, double seconds, double seconds_waited);
  Decision decide(const Progress& before);
  bool stop_is_due() const;
  bool stop_asked(const char* doing);
  bool evaluation_is_due(const Progress& before) const;
  bool evaluation_was_missed(const Start& start) const;
  void evaluate();
  void monitor();
  checkpoint::RunState state() const;
  std::optional<double> held_out_loss() const;  // at this step; absent if it was not evaluated
  [[noreturn]] void give_up(const std::string& why);
  int end();

  Recipe recipe_;
  TrainOptions options_;
  const parallel::World& world_;
  at::Device device_;
  RunFolder folder_;
  Reporter reporter_;
  std::optional<common::FileLock> lock_;  // held by the root
  Sources sources_;
  data::Prefetcher prefetcher_;  // of sources_.training()
  Learner learner_;
  checkpoint::Store store_;
  SignalWatch signals_;
  Checkpointer checkpointer_;
  Schedule schedule_;
  std::optional<double> peak_flops_;  // FLOP/s of one device
  Plan::Flops flops_;                 // for a token
  Progress progress_, start_;         // now, and when this process began
  bool missed_evaluation_ = false;    // the checkpoint is that of a step that was to be evaluated and was not
  int64_t signal_ = 0;                // that a rank has seen and all know of; 0: none
  int64_t total_steps_ = 0;           // of the run: those done and those that are left
  SkippedSteps skipped_;              // of this process
  bool due_ = false;                  // a checkpoint waits for the next step that updates something
  std::vector<Ancestor> lineage_;
  Clock::time_point started_ = Clock::now();
  int64_t evaluated_step_ = -1;          // the last one that was evaluated; -1: none
  std::optional<double> held_out_loss_;  // then, nats a token
  double seconds_per_step_ = 0;          // a moving average, for the estimate of the time left
};

}  // namespace sisa::launcher
