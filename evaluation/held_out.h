// The loss on held-out text and samples of tasks.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

#include "data/loader.h"
#include "model/language_model.h"

namespace sisa::evaluation {

// Sums, so that the shares of several ranks add up.
struct HeldOutScore {
  double nats = 0;      // cross entropy, summed over predicted tokens
  int64_t tokens = 0;   // predicted
  int64_t correct = 0;  // of these, those that the model holds for the likeliest
};

// Scores [begin, end) of what is held out in batches of at most `micro_batch`. The result depends on what is
// scored alone and not on how it is shared out, but for the rounding of the sum.
HeldOutScore score_held_out(model::LanguageModel& model, const data::HeldOut& held_out, int64_t begin,
                            int64_t end, int64_t micro_batch, const at::Device& device);

}  // namespace sisa::evaluation
