// The loss on held-out text.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "data/loader.h"
#include "model/language_model.h"

namespace sisa::evaluation {

// Sums, so that the shares of several ranks add up.
struct HeldOutScore {
  double nats = 0;     // cross entropy, summed over predicted tokens
  int64_t tokens = 0;  // predicted
};

// Scores the windows [begin, end) in batches of at most `micro_batch`. The result depends on the windows
// alone and not on how they are shared out, but for the rounding of the sum.
HeldOutScore score_held_out(model::LanguageModel& model, const data::HeldOut& held_out, int64_t begin,
                            int64_t end, int64_t micro_batch, const at::Device& device);

}  // namespace sisa::evaluation
