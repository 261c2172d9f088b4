// What a long command shows while it works.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "data/prepare/prepare.h"

namespace sisa::launcher {

// One line on standard error, drawn anew where that is a terminal, else printed every 10 s.
class ProgressLine {
 public:
  explicit ProgressLine(bool active);  // else it shows nothing: for all ranks but one
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine();  // takes the line off a terminal
  void show(const std::string& text);

 private:
  bool active_, terminal_, drawn_ = false;
  std::chrono::steady_clock::time_point last_;
};

// Counts, megabytes (10^6) of text a second and, by the share of `input_bytes` that was read, how much longer
// it will take. `input_bytes`: of all inputs; 0: unknown. `seconds`: since this run began, above 0.
std::string describe_progress(const data::PrepareProgress& progress, int64_t input_bytes, double seconds);

}  // namespace sisa::launcher
