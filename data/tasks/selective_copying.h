// Selective copying, as in Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces"
// (2023), section 4.1.1 (after Arjovsky et al., 2016, and Jing et al., 2019). The tokens to remember are at
// random positions, so that a model must recognise them by their content.
//
//   0 a 0 0 b c 0 0 0 1 1 1      inputs
//   - - - - - - - - - a b c      targets
//
// Id 0 is noise, id 1 asks for the next data token in order, and the other ids are data, drawn independently.
#pragma once

#include "data/tasks/kind.h"

namespace sisa::data {

TaskKind selective_copying_task();

}  // namespace sisa::data
