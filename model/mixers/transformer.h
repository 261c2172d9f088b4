// Softmax attention with rotary positions (spec section 2).
#pragma once

#include "model/system.h"

namespace sisa::model {

System transformer_system();

}  // namespace sisa::model
