#include "launcher/run/restore.h"

#include <optional>
#include <utility>
#include <vector>

#include "common/error.h"
#include "launcher/run/initial_weights.h"
#include "launcher/run/opened_run.h"
#include "launcher/run/recipe_changes.h"
#include "launcher/run/run_events.h"

namespace sisa::launcher {
namespace {

// The checkpoint of this run to go on from; none: the run begins.
std::optional<checkpoint::Entry> own_checkpoint(const TrainOptions& options, const RunFolder& folder,
                                                const checkpoint::Store& store, Reporter& reporter,
                                                const parallel::World& world) {
  if (options.resume == TrainOptions::Resume::step)
    return OpenedRun(RunReference{folder, options.resume_step}, world).checkpoint;
  if (options.resume == TrainOptions::Resume::never) {
    world.together([&] {
      if (!store.list().empty())
        throw Error(
            "{} already holds checkpoints, and --resume never would start anew over them. Choose another "
            "--output, or --resume auto to go on.",
            folder.path.string());
    });
    return {};
  }
  std::vector<std::string> skipped;
  const auto entry = store.latest_sound(&skipped);
  for (const std::string& sentence : skipped) report_skipped_checkpoint(reporter, sentence);
  return entry;
}

// `allowed`: the keys that may change although the table refuses it; nullptr: all may, in a new run.
Start load(const checkpoint::Store& store, const checkpoint::Entry& entry, const Recipe& recipe,
           const std::vector<std::string>* allowed, const std::string& data, Learner& learner,
           Reporter& reporter) {
  const checkpoint::RunState state = store.load(entry, learner.space(), learner.communicator());
  Comparison comparison;
  store.world().together([&] {
    comparison = compare_recipes(state.recipe, entry.path, recipe);
    if (allowed) check_changes(comparison.changes, *allowed, entry.path);
  });
  report_changes(reporter, state.step, comparison);
  learner.optimizer().set_updates(state.updates);
  Origin origin = origin_from_json(state.extra);
  const Progress progress = {state.step, state.samples, state.tokens};
  if (origin.data != data) report_changed_data(reporter, progress);
  return {.progress = progress, .lineage = std::move(origin.lineage)};
}

}  // namespace

Start restore(const Recipe& recipe, const TrainOptions& options, const RunFolder& folder,
              const checkpoint::Store& store, const std::string& data, Learner& learner, Reporter& reporter,
              const parallel::World& world) {
  learner.space().initialise(recipe.run.seed);
  Start start;
  if (const auto entry = own_checkpoint(options, folder, store, reporter, world)) {
    start = load(store, *entry, recipe, &options.allowed_changes, data, learner, reporter);
    start.own_checkpoint = true;
    report_resume(reporter, start.progress.step, entry->path, world.size());
  } else if (options.from) {
    const OpenedRun parent(*options.from, world);
    start = load(parent.store, parent.checkpoint, recipe, nullptr, data, learner, reporter);
    start.lineage.push_back({options.from->folder.path.string(), start.progress.step});
    report_fork(reporter, start.lineage);
  } else if (!recipe.run.init_from.empty()) {
    report_init_from(
        reporter, load_initial_weights(recipe.run.init_from, learner.space(), learner.communicator(), world));
  }
  return start;
}

}  // namespace sisa::launcher
