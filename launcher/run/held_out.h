// Held-out loss over all ranks, as a run and `sisa evaluate` report it.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "launcher/recipe/recipe.h"
#include "model/language_model.h"
#include "parallel/world.h"

namespace sisa::launcher {

// Of the text, or of one task.
struct HeldOutPart {
  std::string name;  // "text", or the task's
  double nats_per_token = 0;
  std::optional<double> accuracy;  // of a task: share of the targets that the model holds for the likeliest
  int64_t tokens = 0;              // predicted; at least one
};

std::string describe(const HeldOutPart& part);  // "0.0210 nats a token, 99.20% of answers right"

struct HeldOutResult {
  std::vector<HeldOutPart> parts;
  // Of all parts together, each of their predicted tokens counting the same.
  double nats_per_token = 0;
  std::optional<double> accuracy;       // of tasks; absent without one
  int64_t tokens = 0;                   // predicted; 0: nothing is held out, or less than a sequence
  std::optional<double> nats_per_byte;  // of UTF-8 text; absent if the data does not say how much that is
  int64_t windows = 0;                  // of text
  double seconds = 0;
};

// Collective. Scores the first windows of text, as many as evaluation.tokens allows (0: all), and all samples
// of tasks.
HeldOutResult evaluate_held_out(const Recipe& recipe, model::LanguageModel& model,
                                const data::HeldOut& held_out, const at::Device& device,
                                const parallel::World& world);

}  // namespace sisa::launcher
