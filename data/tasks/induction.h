// Induction heads (Olsson et al., "In-context learning and induction heads", 2022), in the form of Fu et al.,
// "Hungry hungry hippos" (H3, 2022), table 1, which Mamba's paper uses too.
//
//   . . . 0 x . . . . . 0      inputs
//   - - - - - - - - - - x      targets
//
// Random tokens with a special token, 0, at a random position and at the end. At the end the token that
// followed the special one the first time is to be predicted.
#pragma once

#include "data/tasks/kind.h"

namespace sisa::data {

TaskKind induction_task();

}  // namespace sisa::data
