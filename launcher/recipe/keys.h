// The one table of a recipe's keys.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "launcher/recipe/recipe.h"
#include "launcher/recipe/yaml.h"

namespace sisa::launcher {

struct RecipeKey {
  std::string section, name;
  std::string expected;      // "a whole number from 1 to 64"
  std::string default_text;  // "12", or a rule: "learning_rate / 10"
  std::string doc;           // one line: meaning, unit, reason of the range
  std::string belongs_to;    // "" or what it needs: "model.system: sisa"

  std::function<void(const Yaml&, Recipe&)> read;  // throws Error that begins where the key's name ends
  std::function<std::string(const Recipe&)> print;
  std::function<void(Recipe&)> set_default;        // from the keys above it in the table
  std::function<bool(const Recipe&)> has_meaning;  // false where what it belongs to was not chosen

  std::string full_name() const { return section + "." + name; }
};

// In the order in which keys are read and printed: defaults and meanings may depend on any key above.
const std::vector<RecipeKey>& recipe_keys();
std::vector<std::string> recipe_sections();

// Throws Error, naming what was probably meant, unless there is such a section or key. `where` begins the
// message.
void check_section(const std::string& section, const std::string& where);
const RecipeKey& find_key(const std::string& section, const std::string& name, const std::string& where);

// The table in Markdown, as docs/recipes.md holds it.
std::string recipe_keys_markdown();

}  // namespace sisa::launcher
