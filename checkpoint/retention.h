// Which checkpoints stay.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/store.h"

namespace sisa::checkpoint {

// A checkpoint stays if any rule keeps it. Those without moments, taken at chosen points to be looked at
// later, always stay, as do incomplete ones, which are a person's to judge.
struct Retention {
  int64_t keep_last = 0;   // the newest ones; 0: all
  int64_t keep_every = 0;  // tokens: the first at or after each multiple of it; 0: no such rule
  bool keep_best = false;  // the one with the smallest held-out loss, of those that were evaluated
};

// Of `entries`, as Store::list returns them, those that no rule keeps, the oldest first. The newest complete
// one is never among them.
std::vector<Entry> superfluous(const std::vector<Entry>& entries, const Retention& retention);

}  // namespace sisa::checkpoint
