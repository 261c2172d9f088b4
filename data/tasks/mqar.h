// Multi-query associative recall, as in Arora et al., "Zoology: measuring and improving recall in efficient
// language models" (2023), section 4 and appendix E.
//
//   k1 v1 k2 v2 … kN vN  . . k2 . . . k1 . …      inputs
//    -  - -  -  …  -  -  - - v2 - - - v1 - …      targets
//
// A sample begins with N pairs of a key and a value, all different; keys come from the lower half of the
// vocabulary, without 0, and values from the upper half. Then each key comes once more, and its value is to
// be predicted there. The rest of the sample has room for S queries, every second place; the places are drawn
// without replacement with weights i^(power_a - 1), i = 1 … S, for keys in the order of the pairs: small
// power_a puts queries close to the pairs, as repeated bigrams are in text, and 1 spreads them evenly.
//
// Unlike Zoology's code, random filler is no token of the sample's pairs. There, it may be one of the keys,
// and what happens to follow would be a second value for it.
#pragma once

#include "data/tasks/kind.h"

namespace sisa::data {

TaskKind mqar_task();

}  // namespace sisa::data
