// The sources of a recipe: each a map with a path or a task in it.
#pragma once

#include <string>
#include <vector>

#include "launcher/recipe/sections.h"
#include "launcher/recipe/values.h"

namespace sisa::launcher {

ValueKind<std::vector<Source>> sources();

// The keys of the sources in Markdown, as docs/recipes.md holds them.
std::string source_keys_markdown();

}  // namespace sisa::launcher
