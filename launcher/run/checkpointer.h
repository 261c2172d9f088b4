// When a run is saved, and what becomes of a save that fails.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "checkpoint/contents.h"
#include "checkpoint/saver.h"
#include "checkpoint/store.h"
#include "common/error.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/progress.h"
#include "launcher/run/reporter.h"
#include "parallel/parameter_space.h"
#include "parallel/world.h"

namespace sisa::launcher {

// Saves the state of a run as the section `checkpoint` of its recipe asks, and reports each save:
//  - A checkpoint is due after every so many steps, tokens or seconds. At a chosen step (checkpoint.save_at)
//    the state is saved to stay: its weights alone, unless a checkpoint is due as well.
//  - There is never more than one save, and so never more than one copy of the state. A checkpoint that falls
//    due while a save runs waits for the first step after it; a chosen step waits for the save.
//  - A save that fails costs the run that checkpoint and nothing else: training goes on, and the next try is
//    when the next one is due. But the state in which the process ends is saved, or the process fails.
//  - A disk that does not answer for checkpoint.patience is reported, and again each time that it has been
//    silent for twice as long. Training goes on meanwhile. Where nothing is left to do but to wait for the
//    disk, a signal to stop gives it checkpoint.patience, and then the process ends without that checkpoint.
class Checkpointer {
 public:
  using Clock = std::chrono::steady_clock;

  // What it asks of the run, whose members must outlive it.
  struct Run {
    std::function<checkpoint::RunState()> state;  // of now
    // Collective: whether a signal to stop has come. Called again and again while the run waits for a save.
    std::function<bool()> asked_to_stop = [] { return false; };
    // Ends the process without a save, with this explanation. Collective.
    std::function<void(const std::string&)> give_up = [](const std::string& why) {
      throw parallel::SharedError(why, common::try_again);
    };
  };

  // All of it must outlive this object. `clock` is read for checkpoint.every in seconds, which count from the
  // construction or the start of the last checkpoint.
  Checkpointer(const CheckpointSection& section, const checkpoint::Store& store,
               const parallel::ParameterSpace& space, Run run, Reporter& reporter,
               std::function<Clock::time_point()> clock = Clock::now);

  // The run goes on from its own checkpoint of this step, which is not saved again if the process ends there.
  void resumed(int64_t step) { saved_step_ = step; }

  // Whether a checkpoint falls due by checkpoint.every between `before` and `now`. Clocks differ between
  // ranks, which must agree on the answer.
  bool due(const Progress& before, const Progress& now) const;

  // Collective, between two steps; all ranks with the same arguments. Asks after the save that is running and
  // starts the one that is due, if `due` says so now or said so while a save was running. The step from
  // `before` to `now` is the last one made. `last`: the process ends here, so that its state is due.
  void after_step(const Progress& before, const Progress& now, bool due, bool last = false);

  // Collective, in a pause of training, such as an evaluation. Asks after the save that is running.
  void poll();

  // Collective. The held-out loss of the last step made, in nats a token, is known only after its checkpoint
  // may have been begun: it is added to that checkpoint once this is written.
  void evaluated(int64_t step, double held_out_loss);

  // Collective. Waits for the save that is running, if one is. A failure is reported and not thrown.
  void finish_running(int64_t step);

  // Collective, at the end of the process, which stands at step `step`. Throws Error, the same on every rank,
  // if that step's state cannot be saved.
  void finish(int64_t step);

 private:
  struct HeldOutLoss {
    int64_t step;
    double nats_per_token;
  };
  checkpoint::Retention retention() const {
    return {section_.keep_last, section_.keep_every, section_.keep_best};
  }
  void get_on(int64_t step, bool training_goes_on, bool waits);
  void start(checkpoint::SaveOptions options);
  void add_held_out_loss();
  checkpoint::SaveReport wait();
  void tell_if_stalled();
  void finished(const checkpoint::SaveReport& report);
  // Runs `work` and reports an Error that it throws.
  template <typename Work>
  void attempt(int64_t step, bool training_goes_on, const Work& work);

  CheckpointSection section_;
  const parallel::ParameterSpace& space_;
  Run run_;
  Reporter& reporter_;
  std::function<Clock::time_point()> clock_;
  checkpoint::Saver saver_;
  Clock::time_point started_;                 // the last checkpoint with moments, or this object
  bool due_ = false;                          // a checkpoint is due and not yet begun
  int64_t saved_step_ = -1;                   // of the newest checkpoint with moments; -1: none
  int64_t kept_step_ = -1;                    // the last chosen one (checkpoint.save_at); -1: none
  int64_t num_waiting_ = 0;                   // checkpoints that fell due while the running save was written
  double next_warning_ = 0;                   // seconds of silence of the disk
  std::optional<HeldOutLoss> held_out_loss_;  // not yet in its checkpoint
};

}  // namespace sisa::launcher
