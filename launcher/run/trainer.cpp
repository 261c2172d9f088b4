#include "launcher/run/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "common/error.h"
#include "common/file.h"
#include "common/quantity.h"
#include "launcher/run/agreement.h"
#include "launcher/run/device.h"
#include "launcher/run/evaluation.h"
#include "launcher/run/kept_tokenizer.h"
#include "launcher/run/monitors.h"
#include "launcher/run/restore.h"
#include "launcher/run/run_events.h"
#include "launcher/run/version.h"

namespace sisa::launcher {

using common::Unit;

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

RunFolder create_folder(const Recipe& recipe, const parallel::World& world) {
  const RunFolder folder{recipe.run.output};
  world.together([&] {
    if (!world.is_root()) return;
    common::create_directories(folder.checkpoints());
    Reporter(true, folder.metrics());  // throws if it cannot be written
  });
  check_shared_folder(folder.checkpoints(), world);
  return folder;
}

// Two runs in one folder would mix their metrics and delete each other's checkpoints.
std::optional<common::FileLock> lock_folder(const RunFolder& folder, Reporter& reporter,
                                            const parallel::World& world) {
  constexpr std::chrono::seconds patience(5);
  std::optional<common::FileLock> lock;
  world.together([&] {
    if (!world.is_root()) return;
    try {
      lock = common::FileLock::acquire(folder.lock(), patience);
    } catch (const common::SystemError& error) {
      report_unlocked(reporter, error.what());
      return;
    }
    if (!lock)
      throw Error("{} is training in {}. Wait until it ends, or choose another folder with --output.",
                  common::FileLock::holder(folder.lock()), folder.path.string());
  });
  return lock;
}

}  // namespace

Trainer::Trainer(const Recipe& recipe, const TrainOptions& options, const at::Device& device,
                 const parallel::World& world)
    : recipe_(recipe),
      options_(options),
      world_(world),
      device_(device),
      folder_(create_folder(recipe, world)),
      reporter_(world.is_root(), folder_.metrics()),
      lock_(lock_folder(folder_, reporter_, world)),
      sources_(recipe, folder_, reporter_, world),
      prefetcher_([this](int64_t first, int64_t count) { return sources_.training().read(first, count); },
                  device.is_cuda()),
      learner_(recipe.model,
               {.precision = recipe.run.precision,
                .device = device,
                .pad_to = padding(recipe),
                .sharded = recipe.optimizer.sharded,
                .micro_batch = recipe.train.micro_batch,
                .recompute = recipe.train.recompute,
                .optimizer = recipe.optimizer},
               world),
      store_(folder_.checkpoints(), world),
      signals_(world),
      checkpointer_(recipe.checkpoint, store_, learner_.space(),
                    {.state = [this] { return state(); },
                     .asked_to_stop = [this] { return stop_asked("wait for the disk"); },
                     .give_up = [this](const std::string& why) { give_up(why); }},
                    reporter_),
      schedule_(recipe.schedule()),
      peak_flops_(peak_flops(device_name(device), recipe.run.precision)),
      flops_(flops_per_token(recipe)) {
  const Start start =
      restore(recipe_, options_, folder_, store_, sources_.fingerprint(), learner_, reporter_, world_);
  progress_ = start_ = start.progress;
  total_steps_ = progress_.step + recipe_.steps_left(progress_.tokens);
  lineage_ = start.lineage;
  if (start.own_checkpoint) checkpointer_.resumed(progress_.step);
  missed_evaluation_ = evaluation_was_missed(start);
  if (start.own_checkpoint && start.held_out_loss) {
    evaluated_step_ = progress_.step;
    held_out_loss_ = start.held_out_loss;
  }
  world_.together([&] {
    if (!world_.is_root()) return;
    common::write_file_atomically(folder_.recipe(), print_recipe(recipe_));
    keep_tokenizer(recipe_, folder_);
  });
}

int Trainer::run() {
  report_start(reporter_, recipe_, sources_, learner_.model(), device_, folder_, world_.size());
  if (missed_evaluation_) evaluate();
  if (complete() && start_.step == progress_.step && !missed_evaluation_) return end();
  bool stop = signal_ != 0;
  while (!complete() && !stop) {
    const Progress before = progress_;
    signals_.alive("train a step");
    const StepReport report = step();
    const bool shown = before.step == start_.step ||
                       passed({static_cast<double>(recipe_.log.every), Unit::steps}, before, progress_);
    reporter_.step(report, shown);
    const Decision decision = decide(before);
    // The state is saved first: an evaluation may take long, and a signal or a crash may end it. But a step
    // that was skipped is not saved, since the checkpoints that this would displace are better.
    due_ = due_ || decision.save;
    checkpointer_.after_step(before, progress_, due_ && report.applied,
                             /*last=*/report.applied && (decision.stop || complete()));
    if (report.applied) due_ = false;
    skipped_.count(report.applied);
    if (skipped_.hopeless()) {
      checkpointer_.finish_running(progress_.step);
      return end();
    }
    if (signal_ == 0 && evaluation_is_due(before)) evaluate();
    if (signal_ == 0 && passed(recipe_.log.monitors, before, progress_)) monitor();
    stop = decision.stop || signal_ != 0;
  }
  checkpointer_.finish(progress_.step);
  return end();
}

StepReport Trainer::step() {
  const auto begin = Clock::now();
  const int64_t num_samples = recipe_.samples_per_step();
  world_.collective_status().set_step(progress_.step + 1);
  request_batches();
  const double waited_before = prefetcher_.seconds_waited();
  const auto next_batch = [&](int64_t first, int64_t count) {
    return prefetcher_.take(progress_.samples + first, count);
  };
  const int64_t num_targets = sources_.training().num_targets(progress_.samples, num_samples);
  const double lr_factor = schedule_.factor(recipe_.schedule_step(progress_.tokens));
  const StepResult result = learner_.step(next_batch, num_samples, num_targets, lr_factor);

  progress_.step += 1;
  progress_.samples += num_samples;
  progress_.tokens += recipe_.train.batch;
  return measure(result, lr_factor, seconds_since(begin), prefetcher_.seconds_waited() - waited_before);
}

// Requests this rank's samples one step ahead: while one step computes, the next one's samples are read.
void Trainer::request_batches() {
  const auto request = [&](int64_t step_begin) {
    for (const auto& [first, count] : learner_.micro_batches(recipe_.samples_per_step()))
      prefetcher_.request(step_begin + first, count);
  };
  if (prefetcher_.num_requested() == 0) request(progress_.samples);
  if (progress_.step + 1 < total_steps_) request(progress_.samples + recipe_.samples_per_step());
}

// What there is to report of the step just done, which took so many seconds and so many of them waited for
// data.
StepReport Trainer::measure(const StepResult& result, double lr_factor, double seconds,
                            double seconds_waited) {
  // The first step of a process also warms up; it counts only until there is another.
  seconds_per_step_ = progress_.step <= start_.step + 2 ? seconds : 0.9 * seconds_per_step_ + 0.1 * seconds;
  StepReport report{.step = progress_.step,
                    .total_steps = total_steps_,
                    .tokens = progress_.tokens,
                    .samples = progress_.samples,
                    .loss = result.loss,
                    .gradient_norm = result.gradient_norm,
                    .learning_rate = lr_factor * recipe_.optimizer.learning_rate,
                    .tokens_per_second = static_cast<double>(recipe_.train.batch) / seconds,
                    .seconds = seconds,
                    .seconds_waited = seconds_waited,
                    .seconds_left = seconds_per_step_ * static_cast<double>(total_steps_ - progress_.step),
                    .applied = result.applied,
                    .counters = result.counters};
  if (peak_flops_) {
    const double tokens = report.tokens_per_second / (*peak_flops_ * world_.size());
    report.mfu = tokens * flops_.usual;
    report.mfu_exact = tokens * flops_.exact;
  }
  return report;
}

// Clocks and signals differ between ranks: the largest answer counts, for all.
Trainer::Decision Trainer::decide(const Progress& before) {
  std::array<int64_t, 3> answers = {checkpointer_.due(before, progress_), signals_.seen(), stop_is_due()};
  world_.all_reduce(answers, parallel::World::Reduction::max);
  const auto [save, signal, stop] = answers;
  signal_ = signal;
  return {.save = save != 0, .stop = signal != 0 || stop != 0};
}

// Collective. Whether a signal has come on any rank; also tells the watch that this thread is about to go on
// with `doing`.
bool Trainer::stop_asked(const char* doing) {
  signals_.alive(doing);
  int64_t signal = signals_.seen();
  world_.all_reduce({&signal, 1}, parallel::World::Reduction::max);
  signal_ = signal;
  return signal != 0;
}

bool Trainer::stop_is_due() const {
  if (!options_.stop_after) return false;
  const auto [limit, unit] = *options_.stop_after;
  if (unit == Unit::seconds) return limit > 0 && seconds_since(started_) >= limit;
  const int64_t done = unit == Unit::tokens ? progress_.tokens - start_.tokens : progress_.step - start_.step;
  return static_cast<double>(done) >= limit;
}

bool Trainer::evaluation_is_due(const Progress& before) const {
  return complete() || passed(recipe_.evaluation.every, before, progress_);
}

// Whether the process that made the last step was stopped before it evaluated it, as was due.
bool Trainer::evaluation_was_missed(const Start& start) const {
  if (!start.own_checkpoint || start.held_out_loss || progress_.step == 0) return false;
  return evaluation_is_due({.step = progress_.step - 1,
                            .samples = progress_.samples - recipe_.samples_per_step(),
                            .tokens = progress_.tokens - recipe_.train.batch});
}

// A signal ends it without a result. Meanwhile the checkpointer gets on with the save that is running.
void Trainer::evaluate() {
  const auto go_on = [&] {
    checkpointer_.poll();
    return !stop_asked("evaluate");
  };
  const auto result =
      launcher::evaluate(recipe_, learner_.model(), sources_, device_, world_, /*baselines=*/false, go_on);
  if (!result) return;
  evaluated_step_ = progress_.step;
  held_out_loss_ = result->held_out_loss();
  report_evaluation(reporter_, progress_.step, *result);
  if (held_out_loss_) checkpointer_.evaluated(progress_.step, *held_out_loss_);
}

// The model's own readings, on the samples of the step just done. The root alone takes them, since all ranks
// hold all weights.
void Trainer::monitor() {
  if (!world_.is_root()) return;
  const int64_t num_samples = recipe_.samples_per_step();
  const data::Batch batch =
      sources_.training().read(progress_.samples - num_samples, std::min(monitored_samples, num_samples));
  report_readings(reporter_, progress_.step, learner_.model().read(batch.inputs.to(device_)));
}

checkpoint::RunState Trainer::state() const {
  return {.step = progress_.step,
          .updates = learner_.optimizer().updates(),
          .samples = progress_.samples,
          .tokens = progress_.tokens,
          .held_out_loss = held_out_loss(),
          .recipe = print_recipe(recipe_),
          .code_version = code_version(),
          .extra = origin_to_json({.data = sources_.fingerprint(), .lineage = lineage_})};
}

std::optional<double> Trainer::held_out_loss() const {
  return evaluated_step_ == progress_.step ? held_out_loss_ : std::nullopt;
}

// Collective. Ends the process although one of its threads waits for the disk: nothing else would end that.
void Trainer::give_up(const std::string& why) {
  if (world_.is_root()) fmt::print(stderr, "{}\n", why);
  std::fflush(stderr);
  world_.barrier();
  if (world_.size() == 1) std::_Exit(common::try_again);
  if (world_.is_root()) world_.abort(common::try_again);
  while (true) std::this_thread::sleep_for(std::chrono::seconds(1));  // until the root's call ends this rank
}

// Reports how the run ended and returns the exit status.
int Trainer::end() {
  const bool evaluated = evaluated_step_ == progress_.step;
  const bool stopped = signal_ != 0 && !(complete() && evaluated);
  const int64_t steps = progress_.step - start_.step;
  report_end(reporter_, {.progress = progress_,
                         .total_steps = total_steps_,
                         .steps = steps,
                         .tokens = progress_.tokens - start_.tokens,
                         .seconds = steps > 0 ? seconds_since(started_) : 0,
                         .skipped = skipped_.skipped(),
                         .skipped_in_all = progress_.step - learner_.optimizer().updates(),
                         .how = skipped_.hopeless() ? "gave up"
                                : stopped           ? "was stopped by a signal"
                                : complete()        ? "is complete"
                                                    : "was stopped as asked",
                         .loss = held_out_loss()});
  const std::string problem = skipped_.problem();
  if (!problem.empty() && world_.is_root()) std::fputs((problem + "\n").c_str(), stderr);
  if (stopped) return 128 + static_cast<int>(signal_);
  return problem.empty() ? common::success : common::failure;
}

}  // namespace sisa::launcher
