#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"
#include "common/quantity.h"
#include "data/tokens/bigram.h"
#include "launcher/commands/commands.h"
#include "launcher/run/held_out.h"
#include "launcher/run/monitors.h"
#include "launcher/run/run_folder.h"
#include "launcher/run/sources.h"

namespace sisa::launcher {

int run_evaluate(const EvaluateArguments& arguments, const parallel::World& world) {
  RunReference run;
  world.together([&] { run = parse_run_reference(arguments.run); });
  const TrainedModel trained(run, arguments.overrides, world);
  const Reporter reporter(world.is_root(), "");
  const Sources sources(trained.recipe, run.folder, reporter, world);
  const HeldOutResult result =
      evaluate_held_out(trained.recipe, *trained.model, sources.held_out(), trained.device, world);
  world.together([&] {
    if (result.tokens == 0)
      throw Error(
          "The run {} has no held-out text of at least one sequence ({} tokens). Prepare its data with a "
          "larger --validation share, or give a task held_out samples.",
          run.folder.path.string(), trained.recipe.data.sequence_length);
  });
  Rows rows = {{"held-out loss", fmt::format("{:.4f} nats a token", result.nats_per_token)}, {"", ""}};
  if (result.parts.size() > 1 || result.accuracy)
    for (const HeldOutPart& part : result.parts) rows.emplace_back(part.name, describe(part));
  if (result.nats_per_byte) rows.emplace_back("in nats a byte", fmt::format("{:.4f}", *result.nats_per_byte));
  rows.insert(rows.end(), {{"tokens scored", common::format_count(result.tokens)},
                           {"time", common::format_duration(result.seconds)}});
  if (world.is_root() && result.windows > 0 &&
      trained.recipe.model.vocab_size <= data::largest_bigram_vocabulary) {
    const double bigram = sources.bigram_loss(result.windows);
    rows.insert(rows.begin() + 1, {"bigram model", fmt::format("{:.4f} nats a token, on the {}", bigram,
                                                               result.accuracy ? "text" : "same tokens")});
  }
  reporter.say(boxed_table(
      fmt::format("{} at step {}", run.folder.path.string(), common::format_count(trained.step)), rows));
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
