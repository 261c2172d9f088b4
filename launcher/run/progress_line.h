// What a long command shows while it works.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "data/prepare/prepare.h"

namespace sisa::launcher {

// One line on standard error. On a terminal it is drawn over and over in its place, elsewhere printed every
// 10 s.
class ProgressLine {
 public:
  explicit ProgressLine(bool active);  // an inactive one shows nothing, as on all ranks but one
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine();  // removes the line from a terminal
  void show(const std::string& text);

 private:
  bool active_, terminal_, drawn_ = false;
  std::chrono::steady_clock::time_point last_;
};

// Counts, megabytes (10^6 bytes) of text per second and, by the share of the input that was read, how much
// longer it will take. `input_bytes`: the size of all inputs; 0 if it is unknown. `seconds`: the time since
// this run began, above 0.
std::string describe_progress(const data::PrepareProgress& progress, int64_t input_bytes, double seconds);

}  // namespace sisa::launcher
