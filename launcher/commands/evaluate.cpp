#include "launcher/commands/evaluate.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"
#include "common/hash.h"
#include "common/quantity.h"
#include "common/text.h"
#include "evaluation/scorers/own_text.h"
#include "launcher/run/agreement.h"
#include "launcher/run/evaluation.h"
#include "launcher/run/monitors.h"
#include "launcher/run/opened_run.h"
#include "launcher/run/own_text.h"
#include "launcher/run/sources.h"

namespace sisa::launcher {

void add_options(Options& options, EvaluateArguments& arguments) {
  options.describe("Score a trained model on its held-out text, or on a text of your own");
  add_run(options, arguments.run);
  options.add("--file", arguments.files, "FILE",
              "score all of this text, or of these tokens, and not what is held out; may be repeated");
  add_overrides(options, arguments.overrides);
  options.flag("--monitors", arguments.monitors,
               "show also each layer's and head's decays, lambda and scores (docs/numerics.md)");
}

const char* out_of_memory_advice(const EvaluateArguments&) {
  return "Lower train.micro_batch by --set.";
}

namespace {

Rows rows_of(const evaluation::Score& score, int64_t sequence_length) {
  Rows rows;
  rows.emplace_back("tokens predicted", common::format_count(static_cast<int64_t>(score.totals["tokens"])));
  for (const evaluation::Metric& metric : score.metrics) {
    std::string label = metric.name;
    std::replace(label.begin(), label.end(), '_', ' ');
    if (!metric.unit.empty()) rows.emplace_back(label, metric.text());
  }
  rows.emplace_back("", "");
  for (const auto& [first, last, nats, tokens] : evaluation::context_ranges(sequence_length)) {
    if (score.totals[tokens] == 0) continue;
    rows.emplace_back(
        first == last ? "after " + common::counted(first, "token")
                      : fmt::format("after {} to {} tokens", first, last),
        fmt::format("{:.4f} nats a token ({} tokens)", score.totals[nats] / score.totals[tokens],
                    common::format_count(static_cast<int64_t>(score.totals[tokens]))));
  }
  return rows;
}

void score_files(const EvaluateArguments& arguments, const TrainedModel& trained, const RunFolder& folder,
                 const Reporter& reporter, const parallel::World& world) {
  for (const std::filesystem::path& file : arguments.files) {
    evaluation::OwnText text;
    world.together([&] { text = read_own_text(file, trained.recipe, folder); });
    const auto* const bytes = reinterpret_cast<const char*>(text.tokens.data());
    const uint64_t hash = common::hash64({bytes, text.tokens.size() * sizeof(int64_t)});
    require_agreement(world, {{"the fingerprint of " + file.string(), common::hash_hex(hash)}},
                      "All ranks read the same file: copy it to every host.");
    const int64_t length = trained.recipe.data.sequence_length;
    const auto scorer = evaluation::make_own_text(text, *trained.model, trained.device,
                                                  trained.recipe.train.micro_batch, length);
    const evaluation::Score score = score_on_ranks(*scorer, world);
    reporter.say(boxed_table(
        fmt::format("{}, by {} at step {}", file.string(), arguments.run, common::format_count(trained.step)),
        rows_of(score, length)));
  }
}

}  // namespace

int run(const EvaluateArguments& arguments, const parallel::World& world) {
  const OpenedRun run(arguments.run, world);
  const TrainedModel trained = run.load_model(arguments.overrides);
  const Reporter reporter(world.is_root(), "");
  if (!arguments.files.empty()) {
    world.together([&] {
      if (arguments.monitors)
        throw Error("--monitors shows what held-out text does in the model. Leave out --file.");
    });
    score_files(arguments, trained, run.folder, reporter, world);
    return common::success;
  }
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
