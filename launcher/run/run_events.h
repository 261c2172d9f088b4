// What a run tells at each of its events: a sentence for its user and a record for metrics.jsonl.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/saver.h"
#include "evaluation/evaluation.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/lineage.h"
#include "launcher/run/monitors.h"
#include "launcher/run/progress.h"
#include "launcher/run/reporter.h"
#include "launcher/run/run_folder.h"
#include "launcher/run/sources.h"
#include "model/language_model.h"

namespace sisa::launcher {

// Before training begins.
void report_unlocked(Reporter& reporter, const std::string& problem);  // the folder could not be locked
void report_skipped_checkpoint(Reporter& reporter, const std::string& sentence);
void report_changed_data(Reporter& reporter, const Progress& progress);
void report_resume(Reporter& reporter, int64_t step, const std::filesystem::path& checkpoint, int num_ranks);
void report_fork(Reporter& reporter, const std::vector<Ancestor>& lineage);  // of at least one
void report_init_from(Reporter& reporter, const std::string& source);
// The table that a run begins with, on the screen alone.
void report_start(Reporter& reporter, const Recipe& recipe, const Sources& sources,
                  model::LanguageModel& model, const at::Device& device, const RunFolder& folder,
                  int num_ranks);

// While it trains.
void report_evaluation(Reporter& reporter, int64_t step, const evaluation::Evaluation& result);
void report_readings(Reporter& reporter, int64_t step, const Readings& readings);
void report_save(Reporter& reporter, const checkpoint::SaveReport& report);
void report_remarks(Reporter& reporter, int64_t step, const std::vector<std::string>& remarks);
// The disk has been silent for so many seconds, and so many checkpoints fell due meanwhile.
void report_stalled_save(Reporter& reporter, int64_t step, double seconds, int64_t num_waiting);
void report_failed_save(Reporter& reporter, int64_t step, const std::string& problem, bool training_goes_on);

// At its end.
struct End {
  Progress progress;
  int64_t total_steps = 0;     // of the run
  int64_t steps = 0;           // done by this process
  int64_t tokens = 0;          // likewise
  double seconds = 0;          // they took
  int64_t skipped = 0;         // of these steps: updated nothing
  int64_t skipped_in_all = 0;  // since the run began
  std::string how;             // "is complete"
  std::optional<double> loss;  // the held-out loss at this step, nats a token; absent if not evaluated
};
void report_end(Reporter& reporter, const End& end);

}  // namespace sisa::launcher
