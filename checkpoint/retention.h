// The rules by which checkpoints are kept or deleted.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/store.h"

namespace sisa::checkpoint {

// A checkpoint is kept if any rule keeps it. Checkpoints without moments, which were saved at chosen points
// to be examined later, are always kept. So are incomplete ones, about which a person must decide.
struct Retention {
  int64_t keep_last = 0;  // keeps this many of the newest ones; 0: all
  int64_t keep_every =
      0;  // keeps the first one at or after each multiple of this many tokens; 0: no such rule
  bool keep_best = false;  // keeps the one with the smallest held-out loss of those that were evaluated
};

// The entries that no rule keeps, the oldest first. `entries` are those of Store::list. The newest complete
// checkpoint is never among the result.
std::vector<Entry> superfluous(const std::vector<Entry>& entries, const Retention& retention);

}  // namespace sisa::checkpoint
