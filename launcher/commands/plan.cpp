#include "launcher/commands/plan.h"

#include <fmt/format.h>

#include "launcher/recipe/recipe.h"
#include "launcher/run/plan.h"

namespace sisa::launcher {

void add_options(Options& options, PlanArguments& arguments) {
  options.describe("Show what a recipe amounts to: parameters, memory, steps, FLOPs");
  add_recipe(options, arguments.recipe, arguments.overlays, arguments.overrides);
  options.whole("--ranks", arguments.ranks, "N", "plan for so many ranks [as many as run this]", 1, 1 << 20);
  options.flag("--print-recipe", arguments.print_recipe, "print the merged recipe only");
}

int run(const PlanArguments& arguments, const parallel::World& world) {
  std::string text;
  world.together([&] {
    const Recipe recipe = load_recipe(arguments.recipe, arguments.overrides, arguments.overlays);
    const int64_t ranks = arguments.ranks > 0 ? arguments.ranks : world.size();
    text = print_recipe(recipe);
    if (!arguments.print_recipe)
      text += fmt::format(
          "\n{}", boxed_table(arguments.recipe.string(), plan_rows(recipe, make_plan(recipe, ranks))));
  });
  if (world.is_root()) fmt::print("{}", text);
  return common::success;
}

}  // namespace sisa::launcher
