#include "launcher/run/progress.h"

#include <algorithm>
#include <bit>

namespace sisa::launcher {

using common::Unit;

bool passed(const common::Quantity& every, const Progress& before, const Progress& now) {
  const auto interval = static_cast<int64_t>(every.value);
  if (interval <= 0) return false;
  const auto multiples = [&](const Progress& progress) {
    return (every.unit == Unit::tokens ? progress.tokens : progress.step) / interval;
  };
  return multiples(now) > multiples(before);
}

bool passed(const SavePoints& points, const Progress& before, const Progress& now) {
  if (points.doubling) return std::has_single_bit(static_cast<uint64_t>(now.step));
  return std::any_of(points.at.begin(), points.at.end(), [&](const common::Quantity& point) {
    const auto at = static_cast<int64_t>(point.value);
    return point.unit == Unit::tokens ? before.tokens < at && at <= now.tokens : at == now.step;
  });
}

}  // namespace sisa::launcher
