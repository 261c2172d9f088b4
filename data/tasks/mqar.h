// Multi-query associative recall, as in Arora et al., "Zoology: measuring and improving recall in efficient
// language models" (2023), section 4 and appendix E.
//
//   k1 v1 k2 v2 … kN vN  . . k2 . . . k1 . …      inputs
//    -  - -  -  …  -  -  - - v2 - - - v1 - …      targets
//
// A sample begins with N pairs of a key and a value, all different. Keys are from the lower half of the
// vocabulary without 0, values from the upper half. Then each key comes once more, as a query, and its value
// is to be predicted there. The rest of the sample has S positions for queries, namely every second one. The
// positions are drawn without replacement with weights i^(power_a - 1), i = 1 … S, for the keys in the order
// of the pairs. A small power_a puts queries close to the pairs, as repeated bigrams are in text; 1 spreads
// them evenly.
//
// Random filler never contains a token of the sample's pairs. In Zoology's code it may contain one of the
// keys, and the token after it would then be a second value of that key.
#pragma once

#include "data/tasks/kind.h"

namespace sisa::data {

TaskKind mqar_task();

}  // namespace sisa::data
