#include <charconv>

#include "common/error.h"
#include "launcher/commands.h"
#include "launcher/device.h"
#include "launcher/recipe.h"
#include "launcher/trainer.h"

namespace sisa::launcher {
namespace {

TrainOptions train_options(const TrainArguments& arguments) {
  TrainOptions options{.stop_after = arguments.stop_after};
  if (arguments.resume == "never") options.resume = TrainOptions::Resume::never;
  if (arguments.resume != "auto" && arguments.resume != "never") {
    options.resume = TrainOptions::Resume::step;
    const char* const end = arguments.resume.data() + arguments.resume.size();
    const auto [stop, error] = std::from_chars(arguments.resume.data(), end, options.resume_step);
    if (error != std::errc() || stop != end || options.resume_step < 0)
      throw Error("--resume is '{}'; it must be auto, never or the step of a checkpoint.", arguments.resume);
  }
  return options;
}

}  // namespace

int run_train(const TrainArguments& arguments, const parallel::World& world) {
  Recipe recipe;
  TrainOptions options;
  at::Device device = at::kCPU;
  world.together([&] {
    options = train_options(arguments);
    recipe = load_recipe(arguments.recipe, arguments.overrides);
    if (!arguments.output.empty()) recipe.run.output = arguments.output;
    check_ready_to_train(recipe, world.size());
    device = open_device(recipe.run.device, recipe.run.threads, world);
  });
  return Trainer(recipe, options, device, world).run();
}

}  // namespace sisa::launcher
