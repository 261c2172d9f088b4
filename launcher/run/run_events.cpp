#include "launcher/run/run_events.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/quantity.h"
#include "common/text.h"
#include "launcher/run/device.h"
#include "launcher/run/evaluation.h"
#include "launcher/run/plan.h"
#include "launcher/run/version.h"

namespace sisa::launcher {

using common::counted;
using common::format_count;
using common::format_duration;

void report_unlocked(Reporter& reporter, const std::string& problem) {
  reporter.event("unlocked", 0, {},
                 fmt::format("Note: {}. Nothing keeps a second run out of this folder.", problem));
}

void report_skipped_checkpoint(Reporter& reporter, const std::string& sentence) {
  reporter.event("skipped_checkpoint", 0, {}, sentence);
}

void report_changed_data(Reporter& reporter, const Progress& progress) {
  reporter.event(
      "data_changed", progress.step, {},
      fmt::format("Note: the training data is not what the checkpoint was trained on; the run goes "
                  "on at sample {} of the new data.",
                  format_count(progress.samples)));
}

void report_resume(Reporter& reporter, int64_t step, const std::filesystem::path& checkpoint, int num_ranks) {
  reporter.event("resume", step, {{"ranks", num_ranks}},
                 fmt::format("Resuming from {} at step {}, on {}.", checkpoint.string(), format_count(step),
                             counted(num_ranks, "rank")));
}

void report_fork(Reporter& reporter, const std::vector<Ancestor>& lineage) {
  const auto& [run, step] = lineage.back();
  reporter.event("fork", step, {{"lineage", lineage_json(lineage)}},
                 fmt::format("Starting a child of {} at step {}.", run, format_count(step)));
}

void report_init_from(Reporter& reporter, const std::string& source) {
  reporter.event("init_from", 0, {{"source", source}},
                 fmt::format("Starting from the weights of {}.", source));
}

void report_start(Reporter& reporter, const Recipe& recipe, const Sources& sources,
                  model::LanguageModel& model, const at::Device& device, const RunFolder& folder,
                  int num_ranks) {
  Rows rows = plan_rows(recipe, make_plan(recipe, num_ranks));
  rows.emplace_back("", "");
  for (auto& row : sources.rows(recipe.total_steps() * recipe.samples_per_step()))
    rows.push_back(std::move(row));
  if (device.is_cuda() && recipe.run.fused && recipe.run.precision == common::Precision::bf16) {
    const auto others = model.left_to_libtorch();
    rows.emplace_back("kernels", others.empty()
                                     ? "our own"
                                     : fmt::format("our own; LibTorch's for {} (docs/performance.md)",
                                                   fmt::join(others, ", ")));
  }
  rows.emplace_back("device", fmt::format("{} x {}", num_ranks, device_name(device)));
  rows.emplace_back("output", folder.path.string());
  reporter.say(boxed_table("sisa " + code_version(), rows));
}

void report_evaluation(Reporter& reporter, int64_t step, const evaluation::Evaluation& result) {
  if (result.parts().empty()) return;  // nothing is held out
  reporter.event("evaluation", step, evaluation_json(result), evaluation_summary(result, step));
}

void report_readings(Reporter& reporter, int64_t step, const Readings& readings) {
  const std::string summary = readings_summary(readings);
  if (summary.empty()) return;  // the system has no monitors
  reporter.event("monitors", step, {{"layers", readings_json(readings)}},
                 fmt::format("monitors at step {}: {}", format_count(step), summary));
}

void report_save(Reporter& reporter, const checkpoint::SaveReport& report) {
  const double rate = static_cast<double>(report.bytes) / 1e6 / std::max(report.seconds, 1e-9);
  reporter.event("checkpoint", report.step,
                 {{"bytes", report.bytes},
                  {"moments", report.moments},
                  {"seconds", report.seconds},
                  {"seconds_blocked", report.seconds_blocked},
                  {"mb_per_second", rate}},
                 fmt::format("{} of step {}: {} in {}, {:.0f} MB/s; training waited {}",
                             report.moments ? "checkpoint" : "weights", format_count(report.step),
                             common::format_bytes(static_cast<double>(report.bytes)),
                             format_duration(report.seconds), rate, format_duration(report.seconds_blocked)));
  report_remarks(reporter, report.step, report.remarks);
}

void report_remarks(Reporter& reporter, int64_t step, const std::vector<std::string>& remarks) {
  for (const std::string& remark : remarks) reporter.event("remark", step, {{"text", remark}}, remark);
}

void report_stalled_save(Reporter& reporter, int64_t step, double seconds, int64_t num_waiting) {
  std::string text =
      fmt::format("WARNING: The disk has not answered for {} while the checkpoint of step {} is written.",
                  format_duration(seconds), format_count(step));
  if (num_waiting > 0)
    text += fmt::format(" Since then {} {} fallen due and could not be saved.",
                        num_waiting == 1 ? "one checkpoint" : format_count(num_waiting) + " checkpoints",
                        num_waiting == 1 ? "has" : "have");
  reporter.event("checkpoint_stalled", step, {{"seconds", seconds}, {"waiting", num_waiting}}, text);
}

void report_failed_save(Reporter& reporter, int64_t step, const std::string& problem, bool training_goes_on) {
  reporter.event("checkpoint_failed", step, {{"text", problem}},
                 fmt::format("WARNING: {}{}", problem, training_goes_on ? " Training goes on." : ""));
}

void report_end(Reporter& reporter, const End& end) {
  std::string text = fmt::format("The run {} at step {} of {}", end.how, format_count(end.progress.step),
                                 format_count(end.total_steps));
  if (end.steps > 0)
    text += fmt::format(": {} in {}, {} tok/s", counted(end.steps, "step"), format_duration(end.seconds),
                        common::format_short(static_cast<double>(end.tokens) / end.seconds));
  if (end.skipped > 0) text += fmt::format("; {} of them skipped", format_count(end.skipped));
  if (end.skipped_in_all > end.skipped)
    text += fmt::format("; {} skipped since the run began", format_count(end.skipped_in_all));
  if (end.loss) text += fmt::format("; held-out loss {:.4f}", *end.loss);
  reporter.event("end", end.progress.step,
                 {{"steps", end.steps}, {"seconds", end.seconds}, {"skipped", end.skipped}}, text + ".");
}

}  // namespace sisa::launcher
