// run.init_from: a run that starts from weights that are there already.
#pragma once

#include <string>

#include "parallel/communicator.h"
#include "parallel/parameter_space.h"
#include "parallel/world.h"

namespace sisa::launcher {

// Collective. Fills all weights of `space`, in any precision, sharded or not, from `reference`: a safetensors
// file or RUN[@STEP], that run's newest sound checkpoint or the one of that step. Each rank reads what it
// owns. Moments stay as they are. Returns what was read, for the user: "base.safetensors".
//
// Throws Error, the same on every rank, unless exactly the model's tensors are there under the names and in
// the logical shapes that checkpoints have, finite in this precision. One more is let pass: lm_head.weight
// where it equals embed.weight, since exports of models with a tied head often hold both.
std::string load_initial_weights(const std::string& reference, parallel::ParameterSpace& space,
                                 parallel::Communicator& communicator, const parallel::World& world);

}  // namespace sisa::launcher
