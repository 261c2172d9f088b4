// The one table of a recipe's keys.
#pragma once

#include <string>
#include <vector>

#include "launcher/recipe/key.h"

namespace sisa::launcher {

// In the order in which keys are read and printed: defaults and meanings may depend on any key above.
const std::vector<RecipeKey>& recipe_keys();
std::vector<std::string> recipe_sections();

// Throws Error, naming what was probably meant, unless there is such a section or key. `where` begins the
// message.
void check_section(const std::string& section, const std::string& where);
const RecipeKey& find_key(const std::string& section, const std::string& name, const std::string& where);

// A key's value without a line break, as messages have it: `128 tokens`, `[{path: a}, {path: b}]`.
std::string print_on_a_line(const RecipeKey& key, const Recipe& recipe);

// The table in Markdown, as docs/recipes.md holds it.
std::string recipe_keys_markdown();

}  // namespace sisa::launcher
