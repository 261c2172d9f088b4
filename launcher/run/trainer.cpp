#include "launcher/run/trainer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/file.h"
#include "launcher/run/device.h"
#include "launcher/run/held_out.h"
#include "launcher/run/initial_weights.h"
#include "launcher/run/monitors.h"
#include "launcher/run/version.h"

namespace sisa::launcher {

using common::format_count;
using common::format_duration;
using common::Unit;
using nlohmann::ordered_json;

namespace {

double seconds_between(std::chrono::steady_clock::time_point a, std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

RunFolder create_folder(const Recipe& recipe, const parallel::World& world) {
  const RunFolder folder{recipe.run.output};
  world.together([&] {
    if (!world.is_root()) return;
    common::create_directories(folder.checkpoints());
    Reporter(true, folder.metrics());  // it can be written
  });
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
      reporter.event("unlocked", 0, {},
                     fmt::format("Note: {}. Nothing keeps a second run out of this folder.", error.what()));
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
      saver_(store_),
      schedule_(recipe.schedule()),
      peak_flops_(peak_flops(device_name(device), recipe.run.precision)),
      flops_(flops_per_token(recipe)) {
  learner_.space().initialise(recipe_.run.seed);
  restore();
  start_ = progress_;
  world_.together([&] {
    if (world_.is_root()) common::write_file_atomically(folder_.recipe(), print_recipe(recipe_));
  });
}

// From a checkpoint of this run; else from one of another run, if this is its child; else from the start,
// which begins with the weights that are drawn or named.
void Trainer::restore() {
  if (const auto entry = checkpoint_to_resume()) {
    resume(store_, *entry);
    saved_step_ = progress_.step;
    reporter_.event("resume", progress_.step, {{"ranks", world_.size()}},
                    fmt::format("Resuming from {} at step {}, on {} rank{}.", entry->path.string(),
                                format_count(progress_.step), world_.size(), world_.size() == 1 ? "" : "s"));
  } else if (options_.from) {
    const checkpoint::Store parent(options_.from->folder.checkpoints(), world_);
    const checkpoint::Entry start = find_checkpoint(*options_.from, parent, world_);
    resume(parent, start);
    lineage_.push_back({{"run", options_.from->folder.path.string()}, {"step", progress_.step}});
    reporter_.event("fork", progress_.step, {{"lineage", lineage_}},
                    fmt::format("Starting a child of {} at step {}.", options_.from->folder.path.string(),
                                format_count(progress_.step)));
  } else if (!recipe_.run.init_from.empty()) {
    const std::string source =
        load_initial_weights(recipe_.run.init_from, learner_.space(), learner_.communicator(), world_);
    reporter_.event("init_from", 0, {{"source", source}},
                    fmt::format("Starting from the weights of {}.", source));
  }
}

std::optional<checkpoint::Entry> Trainer::checkpoint_to_resume() {
  if (options_.resume == TrainOptions::Resume::step)
    return find_checkpoint({folder_, options_.resume_step}, store_, world_);
  if (options_.resume == TrainOptions::Resume::never) {
    world_.together([&] {
      if (!store_.list().empty())
        throw Error(
            "{} already holds checkpoints, and --resume never would start anew over them. Choose another "
            "--output, or --resume "
            "auto to go on.",
            folder_.path.string());
    });
    return {};
  }
  std::vector<std::string> skipped;
  const auto entry = store_.latest_sound(&skipped);
  for (const std::string& sentence : skipped) reporter_.event("skipped_checkpoint", 0, {}, sentence);
  return entry;
}

void Trainer::resume(const checkpoint::Store& store, const checkpoint::Entry& entry) {
  const checkpoint::RunState state = store.load(entry, learner_.space(), learner_.communicator());
  progress_ = {state.step, state.samples, state.tokens};
  learner_.optimizer().set_updates(state.updates);
  const auto extra = ordered_json::parse(state.extra);
  lineage_ = extra.value("lineage", ordered_json::array());
  if (extra.value("data", "") != sources_.fingerprint())
    reporter_.event("data_changed", state.step, {},
                    fmt::format("Note: the training data is not what the checkpoint was trained on; the run "
                                "goes on at sample {} of the new "
                                "data.",
                                format_count(state.samples)));
}

// This rank's samples of the step that begins at the global sample number `samples`.
void Trainer::request(int64_t samples) {
  for (const auto& [first, count] : learner_.micro_batches(recipe_.samples_per_step()))
    prefetcher_.request(samples + first, count);
}

StepReport Trainer::step() {
  const auto begin_time = Clock::now();
  const double factor = schedule_.factor(progress_.step);
  // One step ahead: while this one computes, the next one's samples are read.
  if (prefetcher_.num_requested() == 0) request(progress_.samples);
  if (progress_.step + 1 < schedule_.total) request(progress_.samples + recipe_.samples_per_step());
  double seconds_waited = 0;
  const auto next_batch = [&](int64_t, int64_t) {
    const auto before = Clock::now();
    data::Batch batch = prefetcher_.take();
    seconds_waited += seconds_between(before, Clock::now());
    return batch;
  };
  const int64_t num_targets = sources_.training().num_targets(progress_.samples, recipe_.samples_per_step());
  const StepResult result = learner_.step(next_batch, recipe_.samples_per_step(), num_targets, factor);

  progress_.step += 1;
  progress_.samples += recipe_.samples_per_step();
  progress_.tokens += recipe_.train.batch;

  const double seconds = seconds_between(begin_time, Clock::now());
  // The first step of a process also warms up; it counts only until there is another.
  seconds_per_step_ = progress_.step <= start_.step + 2 ? seconds : 0.9 * seconds_per_step_ + 0.1 * seconds;
  StepReport report{.step = progress_.step,
                    .total_steps = schedule_.total,
                    .tokens = progress_.tokens,
                    .samples = progress_.samples,
                    .loss = result.loss,
                    .gradient_norm = result.gradient_norm,
                    .learning_rate = factor * recipe_.optimizer.learning_rate,
                    .tokens_per_second = static_cast<double>(recipe_.train.batch) / seconds,
                    .seconds = seconds,
                    .seconds_waited = seconds_waited,
                    .seconds_left = seconds_per_step_ * static_cast<double>(schedule_.total - progress_.step),
                    .applied = result.applied,
                    .num_limited = result.num_limited};
  if (peak_flops_) {
    const double tokens = report.tokens_per_second / (*peak_flops_ * world_.size());
    report.mfu = tokens * flops_.usual;
    report.mfu_exact = tokens * flops_.exact;
  }
  return report;
}

int Trainer::run() {
  report_start();
  Decision decision;
  if (progress_.step >= schedule_.total) {
    report_end(0, 0, "is complete");
    return common::success;
  }
  while (progress_.step < schedule_.total && !decision.stop) {
    const Progress before = progress_;
    const StepReport report = step();
    reporter_.step(report, passed({static_cast<double>(recipe_.log.every), Unit::steps}, before) ||
                               progress_.step == start_.step + 1);
    if (passed(recipe_.evaluation.every, before)) evaluate();
    if (passed(recipe_.log.monitors, before)) monitor();
    signals_.set_patience(std::max(20.0, 3 * report.seconds));
    decision = decide(before);
    save_due_ = save_due_ || decision.save || progress_.step == schedule_.total;
    save(passed(recipe_.checkpoint.save_at, before));
  }
  const bool complete = progress_.step >= schedule_.total;
  if (complete && evaluated_step_ != progress_.step) evaluate();
  finish_saves();
  report_end(progress_.step - start_.step, seconds_between(started_, Clock::now()),
             complete          ? "is complete"
             : decision.signal ? "was stopped by a signal"
                               : "was stopped as asked");
  return decision.signal && !complete ? 128 + static_cast<int>(decision.signal)
                                      : static_cast<int>(common::success);
}

bool Trainer::passed(const common::Quantity& every, const Progress& before) const {
  const auto interval = static_cast<int64_t>(every.value);
  if (interval <= 0) return false;
  const bool tokens = every.unit == Unit::tokens;
  return (tokens ? progress_.tokens : progress_.step) / interval >
         (tokens ? before.tokens : before.step) / interval;
}

bool Trainer::passed(const SavePoints& points, const Progress& before) const {
  if (points.doubling) return std::has_single_bit(static_cast<uint64_t>(progress_.step));
  return std::any_of(points.at.begin(), points.at.end(), [&](const common::Quantity& point) {
    const auto at = static_cast<int64_t>(point.value);
    return point.unit == Unit::tokens ? before.tokens < at && at <= progress_.tokens : at == progress_.step;
  });
}

// What comes after this step. Clocks and signals differ between ranks: the largest answer counts, for all.
Trainer::Decision Trainer::decide(const Progress& before) {
  const auto elapsed = [](Clock::time_point since, const common::Quantity& limit) {
    return limit.unit == Unit::seconds && limit.value > 0 &&
           seconds_between(since, Clock::now()) >= limit.value;
  };
  const auto& every = recipe_.checkpoint.every;
  Decision decision;
  decision.save = every.unit == Unit::seconds ? elapsed(saved_, every) : passed(every, before);
  decision.signal = signals_.seen();
  if (const auto& limit = options_.stop_after) {
    const int64_t done =
        limit->unit == Unit::tokens ? progress_.tokens - start_.tokens : progress_.step - start_.step;
    decision.stop =
        limit->unit == Unit::seconds ? elapsed(started_, *limit) : static_cast<double>(done) >= limit->value;
  }
  std::array<int64_t, 3> answers = {decision.save, decision.signal, decision.stop};
  world_.all_reduce(answers, parallel::World::Reduction::max);
  if (answers[1] != 0) signals_.answered();
  return {answers[0] != 0, answers[1], answers[1] != 0 || answers[2] != 0};
}

// Between two steps: asks after the save that is running and starts one that is due. One that falls due while
// another runs waits for it, so that there is never more than one copy of the state. A save that fails costs
// the run nothing but the checkpoint: it goes on, and tries again when the next is due. At a `chosen` step
// the state is saved now, whatever runs, and to stay: its weights alone unless a checkpoint is due as well.
void Trainer::save(bool chosen) {
  const auto go_on_after = [this](const auto& work) {
    try {
      work();
    } catch (const Error& error) {
      reporter_.event("checkpoint_failed", progress_.step, {{"text", error.what()}},
                      fmt::format("WARNING: {} Training goes on.", error.what()));
    }
  };
  if (saver_.running())
    go_on_after([&] {
      if (chosen)
        report_save(saver_.finish());
      else if (const auto report = saver_.poll())
        report_save(*report);
    });
  if (!(save_due_ || chosen) || saver_.running()) return;
  go_on_after([&] {
    start_save({.moments = save_due_, .keep = chosen});
    if (!recipe_.checkpoint.asynchronous) report_save(saver_.finish());
  });
}

void Trainer::start_save(checkpoint::SaveOptions options) {
  if (options.moments) {
    save_due_ = false;
    saved_ = Clock::now();
  }
  const CheckpointSection& section = recipe_.checkpoint;
  options.retention = {section.keep_last, section.keep_every, section.keep_best};
  const bool evaluated = evaluated_step_ == progress_.step;
  saver_.start({.step = progress_.step,
                .updates = learner_.optimizer().updates(),
                .samples = progress_.samples,
                .tokens = progress_.tokens,
                .held_out_loss = evaluated ? held_out_loss_ : std::nullopt,
                .recipe = print_recipe(recipe_),
                .code_version = code_version(),
                .extra = ordered_json{{"data", sources_.fingerprint()}, {"lineage", lineage_}}.dump()},
               learner_.space(), options);
}

// At the end of the process: the last step's state is saved, or the process fails.
void Trainer::finish_saves() {
  save_due_ = false;
  if (saver_.running()) {
    try {
      report_save(saver_.finish());
    } catch (const Error& error) {
      reporter_.event("checkpoint_failed", progress_.step, {{"text", error.what()}},
                      fmt::format("WARNING: {}", error.what()));
    }
  }
  if (saved_step_ == progress_.step) return;
  start_save({});
  report_save(saver_.finish());
}

void Trainer::report_save(const checkpoint::SaveReport& report) {
  if (report.moments) saved_step_ = report.step;
  const double rate = static_cast<double>(report.bytes) / 1e6 / std::max(report.seconds, 1e-9);
  reporter_.event(
      "checkpoint", report.step,
      {{"bytes", report.bytes},
       {"moments", report.moments},
       {"seconds", report.seconds},
       {"seconds_blocked", report.seconds_blocked},
       {"mb_per_second", rate}},
      fmt::format("{} of step {}: {} in {}, {:.0f} MB/s; training waited {}",
                  report.moments ? "checkpoint" : "weights", format_count(report.step),
                  common::format_bytes(static_cast<double>(report.bytes)), format_duration(report.seconds),
                  rate, format_duration(report.seconds_blocked)));
  for (const std::string& remark : report.remarks)
    reporter_.event("remark", report.step, {{"text", remark}}, remark);
}

void Trainer::evaluate() {
  evaluated_step_ = progress_.step;
  const HeldOutResult result =
      evaluate_held_out(recipe_, learner_.model(), sources_.held_out(), device_, world_);
  if (result.tokens == 0) return;
  held_out_loss_ = result.nats_per_token;
  ordered_json fields = {{"loss", result.nats_per_token}};
  std::string text = fmt::format("held-out loss at step {}: {:.4f} nats a token",
                                 format_count(progress_.step), result.nats_per_token);
  if (result.nats_per_byte) {
    fields["nats_per_byte"] = *result.nats_per_byte;
    text += fmt::format(", {:.4f} nats a byte", *result.nats_per_byte);
  }
  if (result.accuracy) {
    fields["accuracy"] = *result.accuracy;
    text += fmt::format(", {:.2f}% of answers right", 100 * *result.accuracy);
  }
  if (result.parts.size() > 1)
    for (const HeldOutPart& part : result.parts) {
      ordered_json record = {{"name", part.name}, {"loss", part.nats_per_token}, {"tokens", part.tokens}};
      if (part.accuracy) record["accuracy"] = *part.accuracy;
      fields["parts"].push_back(record);
      text += fmt::format("; {} {}", part.name, describe(part));
    }
  fields["tokens"] = result.tokens;
  fields["seconds"] = result.seconds;
  text += fmt::format(" ({} tokens in {})", format_count(result.tokens), format_duration(result.seconds));
  reporter_.event("evaluation", progress_.step, fields, text);
}

// The model's own readings, on the samples of the step just done. Of rank 0 alone: all ranks hold all
// weights.
void Trainer::monitor() {
  if (!world_.is_root()) return;
  const int64_t count = std::min(monitored_samples, recipe_.samples_per_step());
  const data::Batch batch = sources_.training().read(progress_.samples - recipe_.samples_per_step(), count);
  const Readings readings = learner_.model().read(batch.inputs.to(device_));
  const std::string summary = readings_summary(readings);
  if (summary.empty()) return;
  reporter_.event("monitors", progress_.step, {{"layers", readings_json(readings)}},
                  fmt::format("monitors at step {}: {}", format_count(progress_.step), summary));
}

void Trainer::report_start() {
  Rows rows = plan_rows(recipe_, make_plan(recipe_, world_.size()));
  rows.emplace_back("", "");
  for (auto& row : sources_.rows(schedule_.total * recipe_.samples_per_step()))
    rows.push_back(std::move(row));
  if (device_.is_cuda() && recipe_.run.fused && recipe_.run.precision == common::Precision::bf16) {
    const auto others = learner_.model().left_to_libtorch();
    rows.emplace_back("kernels", others.empty()
                                     ? "our own"
                                     : fmt::format("our own; LibTorch's for {} (docs/performance.md)",
                                                   fmt::join(others, ", ")));
  }
  const Rows more = {{"device", fmt::format("{} x {}", world_.size(), device_name(device_))},
                     {"output", folder_.path.string()}};
  rows.insert(rows.end(), more.begin(), more.end());
  reporter_.say(boxed_table("sisa " + code_version(), rows));
}

void Trainer::report_end(int64_t steps_done, double seconds, const char* why) {
  std::string text = fmt::format("The run {} at step {} of {}", why, format_count(progress_.step),
                                 format_count(schedule_.total));
  if (steps_done > 0)
    text +=
        fmt::format(": {} steps in {}, {} tok/s", format_count(steps_done), format_duration(seconds),
                    common::format_short(static_cast<double>(steps_done * recipe_.train.batch) / seconds));
  if (held_out_loss_ && evaluated_step_ == progress_.step)
    text += fmt::format("; held-out loss {:.4f}", *held_out_loss_);
  reporter_.event("end", progress_.step, {{"steps", steps_done}, {"seconds", seconds}}, text + ".");
}

}  // namespace sisa::launcher
