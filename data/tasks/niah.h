// A needle in a haystack (Kamradt, 2023; the single needle of Hsieh et al., "RULER", 2024), of tokens instead
// of words, so that it needs no text and any small vocabulary does.
//
//   . . . . k v1 v2 v3 . . . . . . k v1 v2      inputs
//   - - - - -  -  -  - - - - - - - v1 v2 v3     targets
//
// The needle, a key and its value of several tokens, lies in a haystack of random tokens. The sample ends
// with the key again, which asks for the value, as one asks a language model: given its tokens before it,
// each is to be predicted. The key is a random id that stands nowhere else; ids may repeat in the value and
// the haystack. The needle's start is uniform over the part of the haystack from depth_min to depth_max.
#pragma once

#include "data/tasks/kind.h"

namespace sisa::data {

TaskKind niah_task();

}  // namespace sisa::data
