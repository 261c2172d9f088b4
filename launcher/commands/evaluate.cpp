#include "launcher/commands/evaluate.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"
#include "common/quantity.h"
#include "launcher/run/evaluation.h"
#include "launcher/run/monitors.h"
#include "launcher/run/opened_run.h"
#include "launcher/run/sources.h"

namespace sisa::launcher {

void add_options(Options& options, EvaluateArguments& arguments) {
  options.describe("Score a trained model on its held-out text");
  add_run(options, arguments.run);
  add_overrides(options, arguments.overrides);
  options.flag("--monitors", arguments.monitors,
               "show also each layer's and head's decays, lambda and scores (docs/numerics.md)");
}

const char* out_of_memory_advice(const EvaluateArguments&) {
  return "Lower train.micro_batch by --set.";
}

int run(const EvaluateArguments& arguments, const parallel::World& world) {
  const OpenedRun run(arguments.run, world);
  const TrainedModel trained = run.load_model(arguments.overrides);
  const Reporter reporter(world.is_root(), "");
  const Sources sources(trained.recipe, run.folder, reporter, world);
  const evaluation::Evaluation result =
      *evaluate(trained.recipe, *trained.model, sources, trained.device, world, /*baselines=*/true);
  world.together([&] {
    if (result.held_out_tokens() == 0)
      throw Error(
          "The run {} has no held-out text of at least one sequence ({} tokens). Prepare its data with a "
          "larger --validation share, or give a task held_out samples.",
          run.folder.path.string(), trained.recipe.data.sequence_length);
  });
  reporter.say(
      boxed_table(fmt::format("{} at step {}", run.folder.path.string(), common::format_count(trained.step)),
                  evaluation_rows(result)));
  if (arguments.monitors && world.is_root()) {
    const data::Batch batch =
        sources.held_out().read(0, std::min(sources.held_out().size(), monitored_samples));
    const Rows readings = readings_rows(trained.model->read(batch.inputs.to(trained.device)));
    if (readings.empty())
      reporter.say(fmt::format("A {} has no monitors.\n", trained.recipe.model.system));
    else
      reporter.say(boxed_table("monitors, of every head", readings));
  }
  return common::success;
}

}  // namespace sisa::launcher
