// What a model counted in one step (model::Counter), over all ranks.
#pragma once

#include <cstdint>
#include <string>

namespace sisa::launcher {

struct CounterTotal {
  std::string name;   // in metrics.jsonl
  std::string label;  // behind the number on the screen
  int64_t total = 0;
};

}  // namespace sisa::launcher
