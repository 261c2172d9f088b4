// Falcon-H1 (spec section 7): attention and Mamba-2 in parallel on the same input, whose outputs are added.
#pragma once

#include "model/system.h"

namespace sisa::model {

System falcon_h1_system();

}  // namespace sisa::model
