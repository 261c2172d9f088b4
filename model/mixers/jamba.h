// Jamba (spec section 6), dense: Mamba-2 layers, and attention without positions in every eighth. Each has a
// SwiGLU.
#pragma once

#include "model/system.h"

namespace sisa::model {

System jamba_system();

}  // namespace sisa::model
