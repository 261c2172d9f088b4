#include "launcher/run/trainer.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "common/error.h"
#include "common/file.h"
#include "common/quantity.h"
#include "launcher/run/agreement.h"
#include "launcher/run/device.h"
#include "launcher/run/evaluation.h"
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
      checkpointer_(
          recipe.checkpoint, store_, learner_.space(), [this] { return state(); }, reporter_),
      schedule_(recipe.schedule()),
      peak_flops_(peak_flops(device_name(device), recipe.run.precision)),
      flops_(flops_per_token(recipe)) {
  const Start start =
      restore(recipe_, options_, folder_, store_, sources_.fingerprint(), learner_, reporter_, world_);
  progress_ = start_ = start.progress;
  total_steps_ = progress_.step + recipe_.steps_left(progress_.tokens);
  lineage_ = start.lineage;
  if (start.own_checkpoint) checkpointer_.resumed(progress_.step);
  world_.together([&] {
    if (world_.is_root()) common::write_file_atomically(folder_.recipe(), print_recipe(recipe_));
  });
}

int Trainer::run() {
  report_start(reporter_, recipe_, sources_, learner_.model(), device_, folder_, world_.size());
  if (complete()) return end({});
  Decision decision;
  while (!complete() && !decision.stop) {
    const Progress before = progress_;
    const StepReport report = step();
    const bool shown = before.step == start_.step ||
                       passed({static_cast<double>(recipe_.log.every), Unit::steps}, before, progress_);
    reporter_.step(report, shown);
    if (passed(recipe_.evaluation.every, before, progress_)) evaluate();
    if (passed(recipe_.log.monitors, before, progress_)) monitor();
    signals_.set_patience(std::max(20.0, 3 * report.seconds));
    decision = decide(before);
    // A step that was skipped is not saved: the checkpoints that this would displace are better.
    due_ = due_ || decision.save || complete();
    checkpointer_.after_step(before, progress_, due_ && report.applied);
    if (report.applied) due_ = false;
    skipped_.count(report.applied);
    if (skipped_.hopeless()) {
      checkpointer_.finish_running(progress_.step);
      return end({});
    }
  }
  if (complete() && evaluated_step_ != progress_.step) evaluate();
  checkpointer_.finish(progress_.step);
  return end(decision);
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
  if (signal != 0) signals_.answered();
  return {.save = save != 0, .signal = signal, .stop = signal != 0 || stop != 0};
}

bool Trainer::stop_is_due() const {
  if (!options_.stop_after) return false;
  const auto [limit, unit] = *options_.stop_after;
  if (unit == Unit::seconds) return limit > 0 && seconds_since(started_) >= limit;
  const int64_t done = unit == Unit::tokens ? progress_.tokens - start_.tokens : progress_.step - start_.step;
  return static_cast<double>(done) >= limit;
}

void Trainer::evaluate() {
  const evaluation::Evaluation result =
      launcher::evaluate(recipe_, learner_.model(), sources_, device_, world_, /*baselines=*/false);
  evaluated_step_ = progress_.step;
  held_out_loss_ = result.held_out_loss();
  report_evaluation(reporter_, progress_.step, result);
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

// Reports how the run ended and returns the exit status.
int Trainer::end(const Decision& decision) {
  const int64_t steps = progress_.step - start_.step;
  report_end(reporter_, {.progress = progress_,
                         .total_steps = total_steps_,
                         .steps = steps,
                         .tokens = progress_.tokens - start_.tokens,
                         .seconds = steps > 0 ? seconds_since(started_) : 0,
                         .skipped = skipped_.skipped(),
                         .skipped_in_all = progress_.step - learner_.optimizer().updates(),
                         .how = skipped_.hopeless() ? "gave up"
                                : complete()        ? "is complete"
                                : decision.signal   ? "was stopped by a signal"
                                                    : "was stopped as asked",
                         .loss = held_out_loss()});
  const std::string problem = skipped_.problem();
  if (!problem.empty() && world_.is_root()) std::fputs((problem + "\n").c_str(), stderr);
  if (!problem.empty() && decision.signal == 0) return common::failure;
  return decision.signal && !complete() ? 128 + static_cast<int>(decision.signal)
                                        : static_cast<int>(common::success);
}

}  // namespace sisa::launcher
