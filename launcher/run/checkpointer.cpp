#include "launcher/run/checkpointer.h"

#include <utility>

#include "common/error.h"
#include "common/quantity.h"
#include "launcher/run/run_events.h"

namespace sisa::launcher {

Checkpointer::Checkpointer(const CheckpointSection& section, const checkpoint::Store& store,
                           const parallel::ParameterSpace& space, std::function<checkpoint::RunState()> state,
                           Reporter& reporter, std::function<Clock::time_point()> clock)
    : section_(section),
      space_(space),
      state_(std::move(state)),
      reporter_(reporter),
      clock_(std::move(clock)),
      saver_(store),
      started_(clock_()) {}

bool Checkpointer::due(const Progress& before, const Progress& now) const {
  const common::Quantity& every = section_.every;
  if (every.unit != common::Unit::seconds) return passed(every, before, now);
  return every.value > 0 && std::chrono::duration<double>(clock_() - started_).count() >= every.value;
}

void Checkpointer::after_step(const Progress& before, const Progress& now, bool due) {
  const auto attempt = [&](const auto& work) {
    try {
      work();
    } catch (const Error& error) {
      report_failed_save(reporter_, now.step, error.what(), /*training_goes_on=*/true);
    }
  };
  const bool chosen = passed(section_.save_at, before, now);
  due_ = due_ || due;
  if (saver_.running())
    attempt([&] {
      if (chosen)
        finished(saver_.finish());
      else if (const auto report = saver_.poll())
        finished(*report);
    });
  if (!(due_ || chosen) || saver_.running()) return;
  attempt([&] {
    start({.moments = due_, .keep = chosen});
    if (!section_.asynchronous) finished(saver_.finish());
  });
}

void Checkpointer::finish_running(int64_t step) {
  if (!saver_.running()) return;
  try {
    finished(saver_.finish());
  } catch (const Error& error) {
    report_failed_save(reporter_, step, error.what(), /*training_goes_on=*/false);
  }
}

void Checkpointer::finish(int64_t step) {
  due_ = false;
  finish_running(step);
  if (saved_step_ == step) return;
  start({});
  finished(saver_.finish());
}

void Checkpointer::start(checkpoint::SaveOptions options) {
  // Also if the save fails: the next try is when the next one is due, and not after every step.
  if (options.moments) {
    due_ = false;
    started_ = clock_();
  }
  options.retention = {section_.keep_last, section_.keep_every, section_.keep_best};
  saver_.start(state_(), space_, options);
}

void Checkpointer::finished(const checkpoint::SaveReport& report) {
  if (report.moments) saved_step_ = report.step;
  report_save(reporter_, report);
}

}  // namespace sisa::launcher
