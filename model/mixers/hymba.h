// Hymba (spec section 7): attention and Mamba-2 heads side by side in every layer, behind learned tokens that
// stand before the sequence. The paper's state-space heads are Mamba-1's; here they are Mamba-2's, as in all
// hybrids.
#pragma once

#include "model/system.h"

namespace sisa::model {

System hymba_system();

}  // namespace sisa::model
