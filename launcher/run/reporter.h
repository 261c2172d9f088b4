// What a run tells its user: a table before step 1, one aligned line a step, events, and the same as JSON
// lines in a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/line_file.h"

namespace sisa::launcher {

// One finished step. JSON and screen show the same numbers.
struct StepReport {
  int64_t step = 0;         // steps finished, this one included
  int64_t total_steps = 0;  // of the whole run
  int64_t tokens = 0;       // consumed since the run began
  int64_t samples = 0;
  double loss = 0;               // nats a token, mean over the global batch, before the update
  double gradient_norm = 0;      // before clipping
  double learning_rate = 0;      // of the matrices
  double tokens_per_second = 0;  // all ranks together, this step
  double seconds = 0;            // this step
  double seconds_waited = 0;     // of these, for data; this rank's
  double seconds_left = 0;       // estimate for the rest of the run
  // 0 to 1, by Plan::Flops; absent where the device's peak is unknown.
  std::optional<double> mfu, mfu_exact;
  bool applied = true;  // false: not finite, skipped
  std::optional<int64_t>
      num_limited;  // (token, head) pairs whose decay training could not represent; absent: no limit
};

using Rows = std::vector<std::pair<std::string, std::string>>;
// A box around a title and rows of label and value; an empty label draws a rule. Ends with a newline.
std::string boxed_table(const std::string& title, const Rows& rows);
std::string status_line(const StepReport& report);

// Writes to standard output and to the metrics file. Only the reporter of rank 0 is active; the others
// swallow everything, so that ranks never print over one another.
class Reporter {
 public:
  // Appends to `metrics_file`; "" writes none. Throws Error if it cannot be opened; a record that does not
  // fit on the disk later is lost, which is told once on standard error and ends nothing.
  Reporter(bool active, const std::filesystem::path& metrics_file);
  void say(const std::string& text) const;         // to the screen
  void step(const StepReport& report, bool show);  // to the file, and to the screen if `show`
  void event(const std::string& kind, int64_t step, nlohmann::ordered_json fields,
             const std::string& text);  // to both

 private:
  void write(const nlohmann::ordered_json& record);
  bool active_;
  std::optional<common::LineFile> file_;
  bool failing_ = false;  // the last record could not be written
};

}  // namespace sisa::launcher
