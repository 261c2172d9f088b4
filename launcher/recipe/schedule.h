// The learning rate's course over a run.
#pragma once

#include <cstdint>

namespace sisa::launcher {

enum class ScheduleKind { cosine, wsd, constant };
enum class WarmupStart { zero, first_step };

// factor(step) multiplies the learning rate of the update that takes the run from `step` to `step + 1`. It
// rises linearly over the steps below `warmup`, from 0 at step 0 (so the first update has learning rate 0, as
// published: spec section 0) or, with WarmupStart::first_step, from 1 / warmup at step 0 to 1 at warmup - 1.
// From `warmup` on, where it is 1 either way,
//   cosine    falls as (1 + cos) / 2 and would reach exactly 0 at `total`
//   wsd       (warm-up, stable, decay) stays 1 and falls linearly to 0 over the last `cooldown` steps
//   constant  stays 1
struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  int64_t total = 0;     // steps of the whole run
  int64_t warmup = 0;    // steps
  int64_t cooldown = 0;  // steps, of wsd
  WarmupStart warmup_start = WarmupStart::zero;

  double factor(int64_t step) const;
};

}  // namespace sisa::launcher
