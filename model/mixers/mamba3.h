// Mamba-3 (spec section 5), with single inputs and outputs: a state-space layer with an
// exponential-trapezoidal rule and rotations that depend on the tokens.
#pragma once

#include "model/system.h"

namespace sisa::model {

System mamba3_system();

}  // namespace sisa::model
