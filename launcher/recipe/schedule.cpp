#include "launcher/recipe/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sisa::launcher {

double Schedule::factor(int64_t step) const {
  if (step < warmup) {
    const int64_t risen = warmup_start == WarmupStart::first_step ? step + 1 : step;
    return static_cast<double>(risen) / static_cast<double>(warmup);
  }
  if (step >= total) return kind == ScheduleKind::constant ? 1 : 0;
  switch (kind) {
    case ScheduleKind::cosine: {
      const double share = static_cast<double>(step - warmup) / static_cast<double>(total - warmup);
      return 0.5 * (1 + std::cos(std::numbers::pi * share));
    }
    case ScheduleKind::wsd:
      return cooldown == 0 ? 1
                           : std::min(1.0, static_cast<double>(total - step) / static_cast<double>(cooldown));
    case ScheduleKind::constant:
      return 1;
  }
  return 1;
}

}  // namespace sisa::launcher
