// How a run speaks: an aligned line for each step and sentences at its events (run_events.h) on the screen,
// and the same as JSON lines in a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/line_file.h"
#include "launcher/run/counter_total.h"

namespace sisa::launcher {

// A finished step. The screen and the file show the same numbers.
struct StepReport {
  int64_t step = 0;         // steps finished, this one included
  int64_t total_steps = 0;  // of the whole run
  int64_t tokens = 0;       // consumed since the run began
  int64_t samples = 0;
  double loss = 0;               // nats a token, mean over the global batch, before the update
  double gradient_norm = 0;      // before clipping
  double learning_rate = 0;      // of the matrices
  double tokens_per_second = 0;  // of all ranks together, in this step
  double seconds = 0;            // that the step took
  double seconds_waited = 0;     // that this rank waited for data during the step
  double seconds_left = 0;       // an estimate for the rest of the run
  // The share of the devices' peak that was used, 0 to 1, counted as Plan::Flops has it. Absent where the
  // peak is unknown.
  std::optional<double> mfu, mfu_exact;
  bool applied = true;  // false: the loss or a gradient was not finite, and the update was skipped
  std::vector<CounterTotal> counters;  // what the model counted
};

using Rows = std::vector<std::pair<std::string, std::string>>;
// A box around a title and rows of label and value; an empty label draws a rule. Ends with a newline.
std::string boxed_table(const std::string& title, const Rows& rows);
std::string status_line(const StepReport& report);

// Writes to standard output and to the metrics file. Only rank 0 has an active reporter. Those of the other
// ranks do nothing, so that ranks never print over one another.
class Reporter {
 public:
  // Appends to `metrics_file`; with "" no file is written. Throws Error if it cannot be opened. A record that
  // cannot be written later is lost: that is told on standard error, once in a row, and does not end the run.
  Reporter(bool active, const std::filesystem::path& metrics_file);
  // On the screen alone.
  void say(const std::string& text) const;
  // In the file and, if `show` or if the step was skipped, on the screen.
  void step(const StepReport& report, bool show);
  // In the file as {"event": kind, "step": step, "time": seconds since 1970, fields …}, and `text` on the
  // screen.
  void event(const std::string& kind, int64_t step, nlohmann::ordered_json fields, const std::string& text);

 private:
  void write(const nlohmann::ordered_json& record);
  bool active_;
  std::optional<common::LineFile> file_;
  bool failing_ = false;  // the last record could not be written
};

}  // namespace sisa::launcher
