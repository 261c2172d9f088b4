// A needle in a haystack (Kamradt, 2023; the single needle of Hsieh et al., "RULER", 2024), with tokens
// instead of words, so that it needs no text and any small vocabulary is enough.
//
//   . . . . k v1 v2 v3 . . . . . . k v1 v2      inputs
//   - - - - -  -  -  - - - - - - - v1 v2 v3     targets
//
// The needle, a key and its value of several tokens, is in a haystack of random tokens. The sample ends with
// the key again, followed by the value's tokens: as with a language model, each token of the value is to be
// predicted from the tokens before it. The key is a random id that stands nowhere else; ids may repeat in the
// value and the haystack. The needle's start is uniform over the part of the haystack from depth_min to
// depth_max.
#pragma once

#include "data/tasks/kind.h"

namespace sisa::data {

TaskKind niah_task();

}  // namespace sisa::data
