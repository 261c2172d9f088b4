// The training loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/saver.h"
#include "checkpoint/store.h"
#include "common/file_lock.h"
#include "common/quantity.h"
#include "data/prefetcher.h"
#include "launcher/recipe/recipe.h"
#include "launcher/recipe/schedule.h"
#include "launcher/run/learner.h"
#include "launcher/run/plan.h"
#include "launcher/run/reporter.h"
#include "launcher/run/run_folder.h"
#include "launcher/run/signals.h"
#include "launcher/run/sources.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct TrainOptions {
  enum class Resume { automatic, never, step };
  Resume resume =
      Resume::automatic;    // automatic: from the newest sound checkpoint, or from the start if there is none
  int64_t resume_step = 0;  // of Resume::step
  // Steps or tokens of this process, or seconds: then save and stop. The schedule is the whole run's all the
  // same.
  std::optional<common::Quantity> stop_after;
  // A run whose state this one begins with, if it has no checkpoint of its own.
  std::optional<RunReference> from;
};

// One run in one folder, on all ranks of the world. Members are collective.
class Trainer {
 public:
  // Opens everything that the recipe names and restores the run. Throws Error, the same on every rank;
  // nothing is trained or overwritten.
  Trainer(const Recipe& recipe, const TrainOptions& options, const at::Device& device,
          const parallel::World& world);

  // Trains to the end, or until options.stop_after or a signal, saving on the way. Returns the exit status:
  // 0, or 128 + signal.
  int run();

 private:
  using Clock = std::chrono::steady_clock;
  // Where the run stands. Adam's own count, of applied updates, is learner_.optimizer().updates().
  struct Progress {
    int64_t step = 0;
    int64_t samples = 0;  // the sampler's whole state
    int64_t tokens = 0;
  };
  struct Decision {
    bool save = false;
    int64_t signal = 0;  // 0: none seen on any rank
    bool stop = false;
  };

  void restore();
  std::optional<checkpoint::Entry> checkpoint_to_resume();
  void resume(const checkpoint::Store& store, const checkpoint::Entry& entry);
  void request(int64_t samples);
  StepReport step();
  Decision decide(const Progress& before);
  void save(bool chosen);
  void start_save(checkpoint::SaveOptions options);
  void finish_saves();
  void report_save(const checkpoint::SaveReport& report);
  void evaluate();
  void monitor();
  void report_start();
  void report_end(int64_t steps_done, double seconds, const char* why);
  // Whether the run passed a multiple of `every` (steps or tokens; 0: never) since `before`.
  bool passed(const common::Quantity& every, const Progress& before) const;
  bool passed(const SavePoints& points, const Progress& before) const;  // one of the points

  Recipe recipe_;
  TrainOptions options_;
  const parallel::World& world_;
  at::Device device_;
  RunFolder folder_;
  Reporter reporter_;
  std::optional<common::FileLock> lock_;  // of the root
  Sources sources_;
  data::Prefetcher prefetcher_;  // of sources_.training()
  Learner learner_;
  checkpoint::Store store_;
  checkpoint::Saver saver_;
  Schedule schedule_;
  SignalWatch signals_;
  std::optional<double> peak_flops_;  // of one device
  Plan::Flops flops_;
  Progress progress_, start_;  // now; when this process began
  nlohmann::ordered_json lineage_ =
      nlohmann::ordered_json::array();  // {run, step} of each ancestor, the oldest first
  Clock::time_point started_ = Clock::now(), saved_ = Clock::now();
  bool save_due_ = false;
  int64_t saved_step_ = -1;      // of the newest checkpoint; -1: none
  int64_t evaluated_step_ = -1;  // likewise
  std::optional<double> held_out_loss_;
  double seconds_per_step_ = 0;  // a moving average, for the estimate of the time left
};

}  // namespace sisa::launcher
