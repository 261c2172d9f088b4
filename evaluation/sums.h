// Numbers that add: over items, over batches and over ranks.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sisa::evaluation {

// A few named sums, such as nats and tokens. Counts are doubles as well, which hold them exactly up to 2^53,
// so that one reduction adds everything.
class Sums {
 public:
  Sums() = default;
  // Zeros under these names, which differ from one another.
  explicit Sums(std::vector<std::string> names);

  bool has(std::string_view name) const;
  // The sum of that name, which must be there.
  double& operator[](std::string_view name);
  double operator[](std::string_view name) const;

  // Adds each sum to that of the same name. A name that is new is taken up.
  Sums& operator+=(const Sums& other);

  // The sums in the order of their names, for a reduction over ranks: the order is the same on every rank if
  // the same names were given.
  std::span<double> values() { return values_; }

 private:
  size_t find(std::string_view name) const;  // names_.size() if there is none

  std::vector<std::string> names_;
  std::vector<double> values_;
};

}  // namespace sisa::evaluation
