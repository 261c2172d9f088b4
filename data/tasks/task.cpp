#include "data/tasks/task.h"

#include <c10/util/Exception.h>

#include <unordered_map>

namespace sisa::data {

int64_t Draws::below(int64_t bound) {
  return static_cast<int64_t>(random_.below(static_cast<uint64_t>(bound), next_++));
}

double Draws::uniform() {
  return random_.uniforms(next_++)[0];
}

// The first `count` steps of a Fisher-Yates shuffle of 0 … bound - 1. Only the numbers that have moved are
// stored.
std::vector<int64_t> Draws::distinct(int64_t count, int64_t bound) {
  TORCH_INTERNAL_ASSERT(count <= bound);
  std::unordered_map<int64_t, int64_t> moved;
  const auto at = [&](int64_t place) {
    const auto found = moved.find(place);
    return found == moved.end() ? place : found->second;
  };
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t place = between(i, bound - 1);
    chosen.push_back(at(place));
    moved[place] = at(i);
  }
  return chosen;
}

}  // namespace sisa::data
