// Held-out loss over all ranks, as a run and `sisa evaluate` report it.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "data/loader.h"
#include "launcher/recipe.h"
#include "model/language_model.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct HeldOutResult {
  double nats_per_token = 0;
  double nats_per_byte = 0;  // of UTF-8 text
  int64_t tokens = 0;        // predicted; 0: there is no held-out text, or less than a sequence
  int64_t windows = 0;
  double seconds = 0;
};

// Collective. Scores the first windows, as many as evaluation.tokens allows (0: all).
HeldOutResult evaluate_held_out(const Recipe& recipe, model::LanguageModel& model,
                                const data::HeldOut& held_out, const at::Device& device,
                                const parallel::World& world);

}  // namespace sisa::launcher
