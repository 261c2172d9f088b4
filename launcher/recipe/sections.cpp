#include "launcher/recipe/sections.h"

#include <algorithm>
#include <cmath>

namespace sisa::launcher {

using common::Unit;

int64_t Recipe::steps_left(int64_t tokens) const {
  return std::max<int64_t>(0, train.max_tokens - tokens) / train.batch;
}

int64_t Recipe::warmup_steps() const {
  const double batch = train.warmup.unit == Unit::tokens ? static_cast<double>(train.batch) : 1;
  return static_cast<int64_t>(std::ceil(train.warmup.value / batch));
}

int64_t Recipe::cooldown_steps() const {
  if (train.schedule != ScheduleKind::wsd) return 0;
  return static_cast<int64_t>(std::llround(train.cooldown * static_cast<double>(total_steps())));
}

Schedule Recipe::schedule() const {
  return {.kind = train.schedule,
          .total = total_steps(),
          .warmup = warmup_steps(),
          .cooldown = cooldown_steps(),
          .warmup_start = train.warmup_start};
}

}  // namespace sisa::launcher
