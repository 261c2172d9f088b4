// State-space-augmented attention (spec section 1): decayed and rotated state channels beside those of query and
// key.
#pragma once

#include "model/system.h"

namespace sisa::model {

System sisa_system();

}  // namespace sisa::model
