// Where a run stands, and whether something falls due on the way.
#pragma once

#include <cstdint>

#include "common/quantity.h"
#include "launcher/recipe/recipe.h"

namespace sisa::launcher {

// All counts are since the run began, whichever processes it ran in. Skipped steps count as well; how many
// updates the optimizer made is parallel::AdamW::updates().
struct Progress {
  int64_t step = 0;     // steps done
  int64_t samples = 0;  // consumed by all ranks together: the sampler's whole state
  int64_t tokens = 0;   // likewise
};

// Whether the run passed a multiple of `every` (steps or tokens; 0: never) between `before` and `now`.
bool passed(const common::Quantity& every, const Progress& before, const Progress& now);
// Whether the step from `before` to `now` is one of the points, or took the run past one.
bool passed(const SavePoints& points, const Progress& before, const Progress& now);

}  // namespace sisa::launcher
