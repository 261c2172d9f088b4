#include "launcher/trainer.h"

#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/file.h"
#include "launcher/device.h"
#include "launcher/held_out.h"
#include "launcher/version.h"

namespace sisa::launcher {

using common::format_count;
using common::format_duration;
using common::Unit;
using nlohmann::ordered_json;

namespace {

double seconds_between(std::chrono::steady_clock::time_point a, std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

// The part of `count` things that falls to this rank: [r count / n, (r + 1) count / n).
std::pair<int64_t, int64_t> share(int64_t count, const parallel::World& world) {
  return {world.rank() * count / world.size(), (world.rank() + 1) * count / world.size()};
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

}  // namespace

Trainer::Trainer(const Recipe& recipe, const TrainOptions& options, const at::Device& device,
                 const parallel::World& world)
    : recipe_(recipe),
      options_(options),
      world_(world),
      device_(device),
      folder_(create_folder(recipe, world)),
      reporter_(world.is_root(), folder_.metrics()),
      sources_(recipe, folder_, reporter_, world),
      model_(recipe.model, recipe.run.precision, padding(recipe)),
      space_(model_.parameters(), {recipe.run.precision, device, /*training=*/true, recipe.optimizer.sharded},
             world.rank(), world.size()),
      communicator_(parallel::make_communicator(world, device)),
      optimizer_(space_, recipe.optimizer),
      store_(folder_.checkpoints(), world),
      schedule_(recipe.schedule()),
      peak_flops_(peak_flops(device_name(device), recipe.run.precision)) {
  space_.initialise(recipe_.run.seed);
  restore();
  start_ = progress_;
  world_.together([&] {
    if (world_.is_root()) common::write_file_atomically(folder_.recipe(), print_recipe(recipe_));
  });
}

// Either from a checkpoint or, with nothing to do, from the start.
void Trainer::restore() {
  std::optional<checkpoint::Entry> entry;
  std::vector<std::string> skipped;
  if (options_.resume == TrainOptions::Resume::step)
    entry = find_checkpoint({folder_, options_.resume_step}, store_, world_);
  else if (options_.resume == TrainOptions::Resume::automatic)
    entry = store_.latest_sound(&skipped);
  else
    world_.together([&] {
      if (!store_.list().empty())
        throw Error(
            "{} already holds checkpoints, and --resume never would start anew over them. Choose another "
            "--output, or --resume "
            "auto to go on.",
            folder_.path.string());
    });
  for (const std::string& sentence : skipped) reporter_.event("skipped_checkpoint", 0, {}, sentence);
  if (!entry) return;

  const checkpoint::RunState state = store_.load(*entry, space_, *communicator_);
  progress_ = {state.step, state.samples, state.tokens};
  optimizer_.set_updates(state.updates);
  saved_step_ = state.step;
  const auto extra = nlohmann::json::parse(state.extra);
  reporter_.event("resume", state.step, {{"ranks", world_.size()}},
                  fmt::format("Resuming from {} at step {}, on {} rank{}.", entry->path.string(),
                              format_count(state.step), world_.size(), world_.size() == 1 ? "" : "s"));
  if (extra.value("data", "") != sources_.fingerprint())
    reporter_.event("data_changed", state.step, {},
                    fmt::format("Note: the training data is not what the checkpoint was trained on; the run "
                                "goes on at sample {} of the new "
                                "data.",
                                format_count(state.samples)));
}

// The picture of docs/architecture.md, in code.
StepReport Trainer::step() {
  const auto begin_time = Clock::now();
  const double factor = schedule_.factor(progress_.step);

  space_.zero_gradients();
  at::Tensor loss = at::zeros({1}, at::device(device_).dtype(common::statistics_type(recipe_.run.precision)));
  const auto [begin, end] = share(recipe_.samples_per_step(), world_);
  for (int64_t first = begin; first < end; first += recipe_.train.micro_batch) {
    const int64_t count = std::min(recipe_.train.micro_batch, end - first);
    const data::Batch batch = sources_.training().read(progress_.samples + first, count);
    const at::Tensor loss_sum = model_.loss_sum(batch.inputs.to(device_), batch.targets.to(device_));
    loss_sum.backward();
    loss.add_(loss_sum.detach());
  }
  space_.reduce_gradients(*communicator_);
  const auto tokens = static_cast<double>(recipe_.train.batch);
  const auto update = optimizer_.step(*communicator_, 1 / tokens, factor);
  space_.gather_values(*communicator_);
  communicator_->all_reduce(loss);

  progress_.step += 1;
  progress_.samples += recipe_.samples_per_step();
  progress_.tokens += recipe_.train.batch;

  const double mean_loss = loss.item<double>() / tokens;  // waits for the device
  const double seconds = seconds_between(begin_time, Clock::now());
  // The first step of a process also warms up; it counts only until there is another.
  seconds_per_step_ = progress_.step <= start_.step + 2 ? seconds : 0.9 * seconds_per_step_ + 0.1 * seconds;
  StepReport report{.step = progress_.step,
                    .total_steps = schedule_.total,
                    .tokens = progress_.tokens,
                    .samples = progress_.samples,
                    .loss = mean_loss,
                    .gradient_norm = update.gradient_norm,
                    .learning_rate = factor * recipe_.optimizer.learning_rate,
                    .tokens_per_second = tokens / seconds,
                    .seconds = seconds,
                    .seconds_left = seconds_per_step_ * static_cast<double>(schedule_.total - progress_.step),
                    .applied = update.applied};
  if (peak_flops_)
    report.mfu = report.tokens_per_second * flops_per_token(recipe_, space_.num_parameters()) /
                 (*peak_flops_ * world_.size());
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
    signals_.set_patience(std::max(20.0, 3 * report.seconds));
    decision = decide(before);
    if (decision.save) save();
  }
  const bool complete = progress_.step >= schedule_.total;
  if (complete && evaluated_step_ != progress_.step) evaluate();
  if (saved_step_ != progress_.step) save();
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

void Trainer::save() {
  const checkpoint::RunState state{.step = progress_.step,
                                   .updates = optimizer_.updates(),
                                   .samples = progress_.samples,
                                   .tokens = progress_.tokens,
                                   .recipe = print_recipe(recipe_),
                                   .code_version = code_version(),
                                   .extra = ordered_json{{"data", sources_.fingerprint()}}.dump()};
  const checkpoint::SaveReport report =
      store_.save(state, space_, {.keep_last = recipe_.checkpoint.keep_last});
  saved_ = Clock::now();
  saved_step_ = progress_.step;
  const double rate = static_cast<double>(report.bytes) / 1e6 / std::max(report.seconds, 1e-9);
  reporter_.event(
      "checkpoint", progress_.step,
      {{"bytes", report.bytes},
       {"seconds", report.seconds},
       {"seconds_blocked", report.seconds},
       {"mb_per_second", rate}},
      fmt::format("checkpoint at step {}: {} in {}, {:.0f} MB/s; training waited {}",
                  format_count(progress_.step), common::format_bytes(static_cast<double>(report.bytes)),
                  format_duration(report.seconds), rate, format_duration(report.seconds)));
  for (const std::string& remark : report.remarks)
    reporter_.event("remark", progress_.step, {{"text", remark}}, remark);
}

void Trainer::evaluate() {
  evaluated_step_ = progress_.step;
  const HeldOutResult result = evaluate_held_out(recipe_, model_, sources_.held_out(), device_, world_);
  if (result.tokens == 0) return;
  held_out_loss_ = result.nats_per_token;
  reporter_.event(
      "evaluation", progress_.step,
      {{"loss", result.nats_per_token},
       {"nats_per_byte", result.nats_per_byte},
       {"tokens", result.tokens},
       {"seconds", result.seconds}},
      fmt::format("held-out loss at step {}: {:.4f} nats a token, {:.4f} nats a byte ({} tokens in {})",
                  format_count(progress_.step), result.nats_per_token, result.nats_per_byte,
                  format_count(result.tokens), format_duration(result.seconds)));
}

void Trainer::report_start() {
  Rows rows = plan_rows(recipe_, make_plan(recipe_, world_.size()));
  const auto& sampler = sources_.training();
  const double epochs = static_cast<double>(schedule_.total * recipe_.samples_per_step()) /
                        static_cast<double>(sampler.samples_per_epoch());
  const Rows more = {{"", ""},
                     {"data", fmt::format("{} training tokens, {:.2f} epochs; {} held-out windows",
                                          format_count(sources_.training_tokens()), epochs,
                                          format_count(sources_.held_out().size()))},
                     {"device", fmt::format("{} x {}", world_.size(), device_name(device_))},
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
