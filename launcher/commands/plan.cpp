#include <fmt/format.h>

#include "launcher/commands/commands.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/plan.h"

namespace sisa::launcher {

int run_plan(const PlanArguments& arguments, const parallel::World& world) {
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
