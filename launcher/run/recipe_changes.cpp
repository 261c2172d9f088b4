#include "launcher/run/recipe_changes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "launcher/recipe/keys.h"

namespace sisa::launcher {

std::vector<RecipeChange> recipe_changes(const Recipe& was, const Recipe& now) {
  std::vector<RecipeChange> changes;
  for (const RecipeKey& key : recipe_keys()) {
    const Change rule = key.on_resume.change;
    if (rule == Change::free || !key.has_meaning(was) || !key.has_meaning(now)) continue;
    const std::string before = print_on_a_line(key, was), after = print_on_a_line(key, now);
    if (before != after) changes.push_back({key.full_name(), before, after, rule});
  }
  return changes;
}

Comparison compare_recipes(const std::string& stored, const std::filesystem::path& checkpoint,
                           const Recipe& now) {
  try {
    return {.changes = recipe_changes(parse_recipe(stored, checkpoint.string()), now), .problem = ""};
  } catch (const Error& error) {  // a program with other keys wrote it
    return {.changes = {}, .problem = error.what()};
  }
}

void check_changes(const std::vector<RecipeChange>& changes, std::span<const std::string> allowed,
                   const std::filesystem::path& checkpoint) {
  std::vector<std::string> found, options;
  for (const RecipeChange& change : changes) {
    if (change.rule != Change::refused ||
        std::find(allowed.begin(), allowed.end(), change.key) != allowed.end())
      continue;
    found.push_back(fmt::format("{} was {} and is now {}", change.key, change.was, change.now));
    options.push_back("--allow-change " + change.key);
  }
  if (found.empty()) return;
  const std::string step = checkpoint.filename().string(),
                    run = checkpoint.parent_path().parent_path().string();
  throw Error(
      "The recipe differs from the one that {} was trained with: {}. A run does not go on with that unasked. "
      "Take "
      "the former value back; begin a new run from this checkpoint with --from {}@{} and an --output of its "
      "own; "
      "or go on in this run with {}.",
      checkpoint.string(), fmt::join(found, "; "), run, step.substr(step.rfind('-') + 1),
      fmt::join(options, " "));
}

void report_changes(Reporter& reporter, int64_t step, const Comparison& comparison) {
  if (!comparison.problem.empty())
    reporter.event(
        "recipe_not_compared", step, {{"text", comparison.problem}},
        fmt::format("Note: the checkpoint's recipe cannot be read, so that it is not known what has "
                    "changed since: {}",
                    comparison.problem));
  if (comparison.changes.empty()) return;
  std::vector<std::string> texts;
  auto records = nlohmann::ordered_json::array();
  for (const auto& [key, was, now, rule] : comparison.changes) {
    texts.push_back(fmt::format("{} was {} and is now {}", key, was, now));
    records.push_back({{"key", key}, {"was", was}, {"now", now}});
  }
  reporter.event("recipe_changed", step, {{"changes", records}},
                 fmt::format("Note: the recipe differs from the checkpoint's: {}.", fmt::join(texts, "; ")));
}

}  // namespace sisa::launcher
