// When a run is saved, and what becomes of a save that fails.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "checkpoint/contents.h"
#include "checkpoint/saver.h"
#include "checkpoint/store.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/progress.h"
#include "launcher/run/reporter.h"
#include "parallel/parameter_space.h"

namespace sisa::launcher {

// Saves the state of a run as the section `checkpoint` of its recipe asks, and reports each save:
//  - A checkpoint is due after every so many steps, tokens or seconds. At a chosen step (checkpoint.save_at)
//    the state is saved to stay: its weights alone, unless a checkpoint is due as well.
//  - There is never more than one save, and so never more than one copy of the state. A checkpoint that falls
//    due while a save runs waits for the first step after it; a chosen step waits for the save.
//  - A save that fails costs the run that checkpoint and nothing else: training goes on, and the next try is
//    when the next one is due. But the state in which the process ends is saved, or the process fails.
class Checkpointer {
 public:
  using Clock = std::chrono::steady_clock;

  // All of it must outlive this object. `state` gives the run's state of now. `clock` is read for
  // checkpoint.every in seconds, which count from the construction or the start of the last checkpoint.
  Checkpointer(const CheckpointSection& section, const checkpoint::Store& store,
               const parallel::ParameterSpace& space, std::function<checkpoint::RunState()> state,
               Reporter& reporter, std::function<Clock::time_point()> clock = Clock::now);

  // The run goes on from its own checkpoint of this step, which is not saved again if the process ends there.
  void resumed(int64_t step) { saved_step_ = step; }

  // Whether a checkpoint falls due by checkpoint.every between `before` and `now`. Clocks differ between
  // ranks, which must agree on the answer.
  bool due(const Progress& before, const Progress& now) const;

  // Collective, between two steps; all ranks with the same arguments. Asks after the save that is running and
  // starts the one that is due, if `due` says so now or said so while a save was running. The step from
  // `before` to `now` is the last one made.
  void after_step(const Progress& before, const Progress& now, bool due);

  // Collective. Waits for the save that is running, if one is. A failure is reported and not thrown.
  void finish_running(int64_t step);

  // Collective, at the end of the process, which stands at step `step`. Throws Error, the same on every rank,
  // if that step's state cannot be saved.
  void finish(int64_t step);

 private:
  void start(checkpoint::SaveOptions options);
  void finished(const checkpoint::SaveReport& report);

  CheckpointSection section_;
  const parallel::ParameterSpace& space_;
  std::function<checkpoint::RunState()> state_;
  Reporter& reporter_;
  std::function<Clock::time_point()> clock_;
  checkpoint::Saver saver_;
  Clock::time_point started_;  // the last checkpoint with moments, or this object
  bool due_ = false;           // a checkpoint is due and not yet begun
  int64_t saved_step_ = -1;    // of the newest checkpoint with moments; -1: none
};

}  // namespace sisa::launcher
