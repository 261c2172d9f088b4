// Parity: whether the number of ones so far is odd. The simplest task that needs a state (Hahn, "Theoretical
// limitations of self-attention in neural sequence models", 2020).
//
//   1 0 1 1      inputs
//   1 1 0 1      targets
//
// The bits are the ids 0 and 1. With `predict: last` only the last position has a target.
#pragma once

#include "data/tasks/kind.h"

namespace sisa::data {

TaskKind parity_task();

}  // namespace sisa::data
