#include "launcher/run/checkpointer.h"

#include <fmt/format.h>

#include <utility>

#include "common/error.h"
#include "common/quantity.h"
#include "launcher/run/run_events.h"

namespace sisa::launcher {

Checkpointer::Checkpointer(const CheckpointSection& section, const checkpoint::Store& store,
                           const parallel::ParameterSpace& space, Run run, Reporter& reporter,
                           std::function<Clock::time_point()> clock)
    : section_(section),
      space_(space),
      run_(std::move(run)),
      reporter_(reporter),
      clock_(std::move(clock)),
      saver_(store),
      started_(clock_()) {}

bool Checkpointer::due(const Progress& before, const Progress& now) const {
  const common::Quantity& every = section_.every;
  if (every.unit != common::Unit::seconds) return passed(every, before, now);
  return every.value > 0 && std::chrono::duration<double>(clock_() - started_).count() >= every.value;
}

template <typename Work>
void Checkpointer::attempt(int64_t step, bool training_goes_on, const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    if (error.status() == common::try_again) throw;  // the process is to end
    report_failed_save(reporter_, step, error.what(), training_goes_on);
  }
}

void Checkpointer::after_step(const Progress& before, const Progress& now, bool due, bool last) {
  const bool chosen = passed(section_.save_at, before, now);
  if (chosen) kept_step_ = now.step;
  due_ = due_ || due || last;
  const bool waits = chosen || last || !section_.asynchronous;
  if (saver_.running() && due) ++num_waiting_;
  get_on(now.step, !last, waits);
  if (!saver_.running()) {
    add_held_out_loss();
    get_on(now.step, !last, waits);
  }
  if (saver_.running() || !(due_ || chosen)) return;
  attempt(now.step, !last, [&] {
    start({.moments = due_, .keep = chosen});
    if (!section_.asynchronous) finished(wait());
  });
}

void Checkpointer::poll() {
  if (saver_.running()) get_on(saver_.step(), /*training_goes_on=*/true, /*waits=*/false);
}

void Checkpointer::evaluated(int64_t step, double held_out_loss) {
  held_out_loss_ = {step, held_out_loss};
  add_held_out_loss();
}

void Checkpointer::finish_running(int64_t step) {
  get_on(step, /*training_goes_on=*/false, /*waits=*/true);
}

// Asks after the save that is running, if one is, or waits for it.
void Checkpointer::get_on(int64_t step, bool training_goes_on, bool waits) {
  if (!saver_.running()) return;
  attempt(step, training_goes_on, [&] {
    if (waits)
      finished(wait());
    else if (const auto report = saver_.poll())
      finished(*report);
  });
  tell_if_stalled();
}

void Checkpointer::finish(int64_t step) {
  due_ = false;
  finish_running(step);
  if (saved_step_ != step) {
    start({.keep = kept_step_ == step});
    finished(wait());
  }
  add_held_out_loss();
  if (saver_.running()) finished(wait());
}

void Checkpointer::start(checkpoint::SaveOptions options) {
  // Also if the save fails: the next try is when the next one is due, and not after every step.
  if (options.moments) {
    due_ = false;
    started_ = clock_();
  }
  options.retention = retention();
  next_warning_ = static_cast<double>(section_.patience);
  num_waiting_ = 0;
  saver_.start(run_.state(), space_, options);
}

// Begins to add a loss that is waiting to its checkpoint, if that is written.
void Checkpointer::add_held_out_loss() {
  if (!held_out_loss_ || saver_.running()) return;
  const auto [step, nats_per_token] = *held_out_loss_;
  held_out_loss_.reset();
  if (step != saved_step_) return;  // there was no checkpoint of that step, or its save failed
  next_warning_ = static_cast<double>(section_.patience);
  saver_.add_held_out_loss(step, nats_per_token, retention());
}

checkpoint::SaveReport Checkpointer::wait() {
  return saver_.finish([&] {
    tell_if_stalled();
    const double silence = saver_.seconds_stalled();
    if (!run_.asked_to_stop() || silence < static_cast<double>(section_.patience)) return;
    run_.give_up(
        fmt::format("The disk has not answered for {} while the checkpoint of step {} was written, and the "
                    "run was told to stop. It ends without that checkpoint; earlier ones are as they were.",
                    common::format_duration(silence), common::format_count(saver_.step())));
  });
}

void Checkpointer::tell_if_stalled() {
  const double silence = saver_.seconds_stalled();
  if (!saver_.running() || silence < next_warning_) return;
  next_warning_ = 2 * silence;
  report_stalled_save(reporter_, saver_.step(), silence, num_waiting_);
}

void Checkpointer::finished(const checkpoint::SaveReport& report) {
  if (report.amends) {
    report_remarks(reporter_, report.step, report.remarks);
    return;
  }
  if (report.moments) saved_step_ = report.step;
  report_save(reporter_, report);
}

}  // namespace sisa::launcher
