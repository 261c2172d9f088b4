#include "evaluation/sums.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace sisa::evaluation {

Sums::Sums(std::vector<std::string> names) : names_(std::move(names)), values_(names_.size()) {}

size_t Sums::find(std::string_view name) const {
  return static_cast<size_t>(std::find(names_.begin(), names_.end(), name) - names_.begin());
}

bool Sums::has(std::string_view name) const {
  return find(name) < names_.size();
}

double& Sums::operator[](std::string_view name) {
  TORCH_INTERNAL_ASSERT(has(name), "no sum is called ", name);
  return values_[find(name)];
}

double Sums::operator[](std::string_view name) const {
  TORCH_INTERNAL_ASSERT(has(name), "no sum is called ", name);
  return values_[find(name)];
}

Sums& Sums::operator+=(const Sums& other) {
  for (size_t i = 0; i < other.names_.size(); ++i) {
    if (!has(other.names_[i])) {
      names_.push_back(other.names_[i]);
      values_.push_back(0);
    }
    (*this)[other.names_[i]] += other.values_[i];
  }
  return *this;
}

}  // namespace sisa::evaluation
