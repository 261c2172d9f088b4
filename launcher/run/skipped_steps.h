// Notices training that no longer trains.
#pragma once

#include <cstdint>
#include <string>

namespace sisa::launcher {

// Counts the steps of this process that updated nothing, because the loss or a gradient was not finite.
//
// A single bad batch costs one step. Ten different batches in a row that give no finite gradient are a matter
// of the weights or of the precision and not of a batch; since a skipped step leaves the weights as they are,
// the next steps fare no better, and the run should stop.
class SkippedSteps {
 public:
  static constexpr int64_t most_in_a_row = 10;

  void count(bool applied) {
    ++steps_;
    if (!applied) ++skipped_;
    in_a_row_ = applied ? 0 : in_a_row_ + 1;
  }
  int64_t skipped() const { return skipped_; }
  // Whether the last most_in_a_row steps were all skipped.
  bool hopeless() const { return in_a_row_ >= most_in_a_row; }
  // What makes the process's training a failure, with advice: the run is hopeless, or more than half of the
  // steps were skipped. "": nothing.
  std::string problem() const;

 private:
  int64_t steps_ = 0, skipped_ = 0, in_a_row_ = 0;
};

}  // namespace sisa::launcher
