#include <filesystem>
#include <string>

#include "checkpoint/master_file.h"
#include "common/error.h"
#include "launcher/commands/commands.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/device.h"
#include "launcher/run/run_folder.h"
#include "launcher/run/trainer.h"

namespace sisa::launcher {
namespace {

// The command line has seen to it that `resume` is one of the three.
TrainOptions train_options(const TrainArguments& arguments) {
  TrainOptions options{.stop_after = arguments.stop_after};
  if (arguments.resume == "never")
    options.resume = TrainOptions::Resume::never;
  else if (arguments.resume != "auto")
    options = {TrainOptions::Resume::step, std::stoll(arguments.resume), arguments.stop_after};
  return options;
}

// The recipe that the parent's checkpoint was trained with. Collective.
Recipe recipe_of(const RunReference& parent, const TrainArguments& arguments, const parallel::World& world) {
  const checkpoint::Store store(parent.folder.checkpoints(), world);
  const checkpoint::Entry entry = find_checkpoint(parent, store, world);
  Recipe recipe;
  world.together([&] {
    if (!arguments.overlays.empty())
      throw Error("--overlay needs a RECIPE to lie over; with --from alone, change keys with --set.");
    recipe = parse_recipe(checkpoint::read_master(entry.path).state.recipe, entry.path.string(),
                          arguments.overrides);
    recipe.run.output.clear();
  });
  return recipe;
}

// The parent's files are never written to.
void check_own_folder(const Recipe& recipe, const RunReference& parent) {
  namespace fs = std::filesystem;
  if (fs::weakly_canonical(recipe.run.output) == fs::weakly_canonical(parent.folder.path))
    throw Error("{} is the run to start from (--from). Give the new run a folder of its own with --output.",
                parent.folder.path.string());
}

}  // namespace

int run_train(const TrainArguments& arguments, const parallel::World& world) {
  Recipe recipe;
  TrainOptions options;
  at::Device device = at::kCPU;
  world.together([&] {
    options = train_options(arguments);
    if (!arguments.from.empty()) options.from = parse_run_reference(arguments.from);
  });
  if (arguments.recipe.empty()) recipe = recipe_of(*options.from, arguments, world);
  world.together([&] {
    if (!arguments.recipe.empty())
      recipe = load_recipe(arguments.recipe, arguments.overrides, arguments.overlays);
    if (!arguments.output.empty()) recipe.run.output = arguments.output;
    check_ready_to_train(recipe, world.size());
    if (options.from) check_own_folder(recipe, *options.from);
    device = open_device(recipe.run, world);
  });
  return Trainer(recipe, options, device, world).run();
}

}  // namespace sisa::launcher
