// Recipes read, checked and printed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "launcher/recipe/sections.h"

namespace sisa::launcher {

// Reads a file with all that it `extends`, then the files `overlays`, then `overrides` ("section.key=value",
// as --set takes them; later wins), fills in the defaults that depend on other keys and checks every value
// and combination that needs no data and no world. A key without a meaning for what was chosen is left out if
// an extended file or an overlay gives it, since several systems share those, and otherwise refused. Throws
// Error with file, line, key, value and what was expected.
Recipe load_recipe(const std::filesystem::path& file, std::span<const std::string> overrides = {},
                   std::span<const std::filesystem::path> overlays = {});

// The same for a text, such as a checkpoint's; `source` stands for the file in messages.
Recipe parse_recipe(std::string_view text, const std::string& source,
                    std::span<const std::string> overrides = {});

// All sections and keys that matter to this recipe, as YAML that reads back as the same recipe:
// print_recipe(parse_recipe(print_recipe(r))) == print_recipe(r).
std::string print_recipe(const Recipe& recipe);

// Throws Error unless every one of `world_size` ranks gets a sample of each step.
void check_ranks(const Recipe& recipe, int64_t world_size);

// Throws Error unless the recipe also names what training needs beyond a plan: output, sources and, for text,
// a tokenizer, on `world_size` ranks.
void check_ready_to_train(const Recipe& recipe, int64_t world_size);

}  // namespace sisa::launcher
