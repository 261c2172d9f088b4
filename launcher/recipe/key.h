// A row of the table of keys.
#pragma once

#include <functional>
#include <string>

#include "launcher/recipe/sections.h"
#include "launcher/recipe/yaml.h"

namespace sisa::launcher {

// What a resumed run does where a key's value is not that of the checkpoint's recipe.
enum class Change {
  free,    // goes on without a word: what is computed does not depend on the key
  shown,   // goes on and says so: how it trains from here on
  refused  // stops, unless --allow-change names the key: what was done so far would no longer mean the same
};

// Has no default, so that whoever adds a key must choose.
struct OnResume {
  OnResume(Change rule) : change(rule) {}  // NOLINT(google-explicit-constructor)
  Change change;
};

struct RecipeKey {
  std::string section, name;
  std::string expected;      // "a whole number from 1 to 64"
  std::string default_text;  // "12", or a rule: "learning_rate / 10"
  std::string doc;           // one line: meaning, unit, reason of the range
  std::string belongs_to;    // "" or what it needs: "model.system: sisa"
  OnResume on_resume;

  std::function<void(const Yaml&, Recipe&)> read;  // throws Error that begins where the key's name ends
  std::function<std::string(const Recipe&)> print;
  std::function<void(Recipe&)> set_default;        // from the keys above it in the table
  std::function<bool(const Recipe&)> has_meaning;  // false where what it belongs to was not chosen

  std::string full_name() const { return section + "." + name; }
};

}  // namespace sisa::launcher
