// The rows of the table of keys that the systems decide: what each of them declares (model/system.h), merged.
#pragma once

#include <string>
#include <vector>

#include "launcher/recipe/key.h"

namespace sisa::launcher {

// The keys of the section `model` that systems read. A key of several systems has one row.
std::vector<RecipeKey> system_keys();
// The learning rates that systems have of their own, in the section `optimizer`.
std::vector<RecipeKey> learning_rate_keys();

// Whether the recipe's system has readings; which systems have, as a choice in words ("model.system: sisa", or
// "" if all have); and what these readings are.
bool has_readings(const Recipe& recipe);
std::string systems_with_readings();
std::string all_readings();

// Whether the recipe's system has a SwiGLU, and which systems have.
bool has_feed_forward(const Recipe& recipe);
std::string systems_with_feed_forward();

}  // namespace sisa::launcher
