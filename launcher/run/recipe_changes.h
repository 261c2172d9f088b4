// What has changed in a run's recipe since one of its checkpoints, and whether the run may go on with it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "launcher/recipe/key.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/reporter.h"

namespace sisa::launcher {

struct RecipeChange {
  std::string key;       // "train.batch"
  std::string was, now;  // "128 tokens"
  Change rule;           // shown or refused
};

// The keys whose values differ, in the table's order, without those that are free to change and those that
// matter to one of the two recipes only, since another key decides that.
std::vector<RecipeChange> recipe_changes(const Recipe& was, const Recipe& now);

struct Comparison {
  std::vector<RecipeChange> changes;
  std::string problem;  // why the checkpoint's recipe could not be compared; "": it was
};
// Compares with the recipe that `checkpoint` (its folder) holds as a text. Where that lacks a key, which is
// newer than the checkpoint, the key's default counts.
Comparison compare_recipes(const std::string& stored, const std::filesystem::path& checkpoint,
                           const Recipe& now);

// Throws Error if one of the changes is refused and not among the keys `allowed`. It names the keys, both
// values and the ways out.
void check_changes(const std::vector<RecipeChange>& changes, std::span<const std::string> allowed,
                   const std::filesystem::path& checkpoint);

// Says what has changed: a line on the screen and an event `recipe_changed` in the metrics. `step`: of the
// checkpoint.
void report_changes(Reporter& reporter, int64_t step, const Comparison& comparison);

}  // namespace sisa::launcher
