#include <string>

#include "common/error.h"
#include "launcher/commands.h"
#include "launcher/device.h"
#include "launcher/recipe.h"
#include "launcher/trainer.h"

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

}  // namespace

int run_train(const TrainArguments& arguments, const parallel::World& world) {
  Recipe recipe;
  TrainOptions options;
  at::Device device = at::kCPU;
  world.together([&] {
    options = train_options(arguments);
    recipe = load_recipe(arguments.recipe, arguments.overrides, arguments.overlays);
    if (!arguments.output.empty()) recipe.run.output = arguments.output;
    check_ready_to_train(recipe, world.size());
    device = open_device(recipe.run.device, recipe.run.threads, world);
  });
  return Trainer(recipe, options, device, world).run();
}

}  // namespace sisa::launcher
