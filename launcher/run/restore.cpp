#include "launcher/run/restore.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <optional>
#include <utility>
#include <vector>

#include "checkpoint/master_file.h"
#include "common/error.h"
#include "common/text.h"
#include "launcher/run/initial_weights.h"
#include "launcher/run/opened_run.h"
#include "launcher/run/recipe_changes.h"
#include "launcher/run/run_events.h"

namespace sisa::launcher {
namespace {

// A run that began anew beside checkpoints that it cannot use, or went on from an older one than there is,
// would in time delete what may be whole: the user decides. The same on every rank.
void check_search(const checkpoint::Search& found, const RunFolder& folder) {
  const std::string run = folder.path.string();
  if (!found.unreadable.empty()) {
    std::string way_out = "Make it readable and start again.";
    if (found.sound)
      way_out +=
          fmt::format(" To go on from an older one all the same, give --resume {}.", found.sound->step);
    throw parallel::SharedError(
        fmt::format("{} {} Nothing was changed.", common::as_sentence(found.unreadable.front()), way_out),
        common::failure);
  }
  if (found.sound || found.damaged.empty()) return;
  throw parallel::SharedError(
      fmt::format(
          "{} holds checkpoints, and none of them is sound: {} Nothing was changed. `sisa checkpoint "
          "verify {}` shows what is wrong with each. Put sound copies in their place, or start anew in "
          "another folder with --output.",
          run, common::as_sentence(fmt::format("{}", fmt::join(found.damaged, "; "))), run),
      common::failure);
}

// A folder may hold weights alone: an imported run's, or those of checkpoint.save_at that a run saved before it
// was killed, as it does again when it begins anew. Those of another recipe would be replaced by others.
void check_weights_alone(const checkpoint::Store& store, const Recipe& recipe, const RunFolder& folder,
                         const parallel::World& world) {
  world.together([&] {
    for (const checkpoint::Entry& entry : store.list()) {
      const std::string stored = checkpoint::read_master(entry.path).state.recipe;
      const Comparison comparison = compare_recipes(stored, entry.path, recipe);
      if (comparison.changes.empty() && comparison.problem.empty()) continue;
      throw Error(
          "{} holds weights of step {}, without the state that training goes on from, and they were not made "
          "with this recipe{}. A run that began here would replace them. Choose another --output; to start "
          "from these weights, give it --set run.init_from={}@{}.",
          folder.path.string(), entry.step,
          comparison.changes.empty() ? "" : fmt::format(" ({} differs)", comparison.changes.front().key),
          folder.path.string(), entry.step);
    }
  });
}

// The checkpoint of this run to go on from; none: the run begins.
std::optional<checkpoint::Entry> own_checkpoint(const TrainOptions& options, const RunFolder& folder,
                                                const checkpoint::Store& store, const Recipe& recipe,
                                                Reporter& reporter, const parallel::World& world) {
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
  const checkpoint::Search found = store.latest_sound();
  check_search(found, folder);
  if (!found.sound) check_weights_alone(store, recipe, folder, world);
  for (const std::string& sentence : found.damaged) report_skipped_checkpoint(reporter, sentence);
  return found.sound;
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
  return {.progress = progress, .lineage = std::move(origin.lineage), .held_out_loss = state.held_out_loss};
}

}  // namespace

Start restore(const Recipe& recipe, const TrainOptions& options, const RunFolder& folder,
              const checkpoint::Store& store, const std::string& data, Learner& learner, Reporter& reporter,
              const parallel::World& world) {
  learner.space().initialise(recipe.run.seed);
  Start start;
  if (const auto entry = own_checkpoint(options, folder, store, recipe, reporter, world)) {
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
