// The Forgetting Transformer (spec section 3): attention whose keys lose weight as tokens pass, by a gate
// that depends on them. Without positions.
#pragma once

#include "model/system.h"

namespace sisa::model {

System fox_system();
// With shifted keys and values, normed queries and keys, and a normed and gated output.
System fox_pro_system();

}  // namespace sisa::model
