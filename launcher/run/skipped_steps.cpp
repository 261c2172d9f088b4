#include "launcher/run/skipped_steps.h"

#include <fmt/format.h>

#include "common/quantity.h"

namespace sisa::launcher {

std::string SkippedSteps::problem() const {
  if (!hopeless() && 2 * skipped_ <= steps_) return "";
  const std::string what =
      hopeless()
          ? fmt::format(
                "The last {} steps were all skipped, because the loss or a gradient was not "
                "finite. A skipped step leaves the weights as they are, so that the run would "
                "go on like this. It stopped without saving this state; its checkpoints are "
                "as they were.",
                common::format_count(in_a_row_))
          : fmt::format("{} of the {} steps were skipped, because the loss or a gradient was not finite.",
                        common::format_count(skipped_), common::format_count(steps_));
  return what +
         " Lower optimizer.learning_rate or choose a wider run.precision, and go on from a checkpoint before "
         "the first skipped step with --resume STEP (`sisa checkpoint list RUN` shows them).";
}

}  // namespace sisa::launcher
