// What `sisa train` is told beside the recipe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/quantity.h"
#include "launcher/run/opened_run.h"

namespace sisa::launcher {

struct TrainOptions {
  enum class Resume {
    automatic,  // from the newest sound checkpoint, or from the start if there is none
    never,      // from the start; refused where there are checkpoints
    step        // from the checkpoint of resume_step
  };
  Resume resume = Resume::automatic;
  int64_t resume_step = 0;
  // Steps or tokens of this process, or seconds: then save and stop. The schedule is the whole run's all the
  // same.
  std::optional<common::Quantity> stop_after;
  // A run whose state this one begins with, if it has no checkpoint of its own.
  std::optional<RunReference> from;
  // Keys ("train.batch") with whose change a resumed run goes on although the table of keys refuses it.
  std::vector<std::string> allowed_changes;
};

}  // namespace sisa::launcher
