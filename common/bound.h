// The ends of a range of numbers.
#pragma once

#include <limits>

namespace sisa::common {

struct Bound {
  double value = 0;
  bool included = true;
};
inline Bound above(double value) {
  return {value, false};
}
inline Bound below(double value) {
  return {value, false};
}
inline Bound from(double value) {
  return {value, true};
}
inline Bound to(double value) {
  return {value, true};
}
inline Bound without_end() {
  return below(std::numeric_limits<double>::infinity());
}

// Whether low <= value <= high, each end as it is included or not. False for NaN.
inline bool within(double value, const Bound& low, const Bound& high) {
  return (low.included ? value >= low.value : value > low.value) &&
         (high.included ? value <= high.value : value < high.value);
}

}  // namespace sisa::common
