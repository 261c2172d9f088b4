// What a recipe amounts to, before anything is allocated.
#pragma once

#include <cstdint>

#include "launcher/recipe/recipe.h"
#include "launcher/run/reporter.h"
#include "parallel/parameter_space.h"

namespace sisa::launcher {

// The multiple to which model::LanguageModel pads stored widths for the recipe's device.
int64_t padding(const Recipe& recipe);

struct Plan {
  int64_t num_parameters = 0;  // logical
  int64_t ranks = 1;
  int64_t steps = 0;
  int64_t tokens_per_step = 0;
  int64_t total_tokens = 0;                 // steps * tokens_per_step, at most train.max_tokens
  int64_t samples_per_step = 0;             // over all ranks
  parallel::ParameterSpace::Memory memory;  // bytes on each rank, without activations
  struct Flops {                            // of a token, forward and backward
    // As others report them (model::usual_training_flops): the mask and what score augmentations add are not
    // counted.
    double usual = 0;
    double exact = 0;  // three times model::forward_flops: what is computed again is not counted
  };
  Flops flops;
  double bytes = 0;  // that cross a GPU's memory for a token (model/costs.h)
};

// Throws Error if there are more ranks than samples in a step. Allocates nothing, whatever the model's size.
Plan make_plan(const Recipe& recipe, int64_t ranks);

Plan::Flops flops_per_token(const Recipe& recipe);
// On so many ranks. What these send one another is not in it.
double bytes_per_token(const Recipe& recipe, int64_t ranks);

// For boxed_table.
Rows plan_rows(const Recipe& recipe, const Plan& plan);

}  // namespace sisa::launcher
