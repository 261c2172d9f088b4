#include "launcher/run/run_folder.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>

#include "checkpoint/master_file.h"
#include "common/error.h"
#include "launcher/run/device.h"
#include "launcher/run/plan.h"

namespace sisa::launcher {
namespace {

// The newest checkpoint of weights alone: all that an imported run has. Collective.
std::optional<checkpoint::Entry> newest_weights(const checkpoint::Store& store,
                                                const parallel::World& world) {
  int64_t step = -1;
  world.together([&] {
    if (!world.is_root()) return;
    for (const checkpoint::Entry& entry : store.list())
      if (entry.complete() && !entry.has_moments) step = entry.step;
  });
  world.all_reduce({&step, 1}, parallel::World::Reduction::max);
  std::optional<checkpoint::Entry> found;
  if (step >= 0) world.together([&] { found = store.find(step); });
  return found;
}

}  // namespace

RunReference parse_run_reference(const std::string& text) {
  RunReference run{{text}, std::nullopt};
  // A folder may have an @ in its name: what exists as it stands is meant as it stands.
  const size_t at = text.rfind('@');
  if (at != std::string::npos && !std::filesystem::exists(text)) {
    int64_t step = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + at + 1, end, step);
    if (error != std::errc() || stop != end || step < 0)
      throw Error("'{}' does not name a step: RUN@STEP expects a number after the @, such as {}@500.", text,
                  text.substr(0, at));
    run = {{text.substr(0, at)}, step};
  }
  if (!std::filesystem::is_directory(run.folder.path))
    throw Error("There is no run {}: no such folder. Name the folder that `sisa train --output` wrote.",
                run.folder.path.string());
  return run;
}

checkpoint::Entry find_checkpoint(const RunReference& run, const checkpoint::Store& store,
                                  const parallel::World& world) {
  checkpoint::Entry entry;
  if (run.step) {
    world.together([&] { entry = store.find(*run.step); });
    return entry;
  }
  std::vector<std::string> skipped;
  auto newest = store.latest_sound(&skipped);
  if (!newest) newest = newest_weights(store, world);
  if (world.is_root())
    for (const std::string& sentence : skipped) fmt::print(stderr, "{}\n", sentence);
  world.together([&] {
    if (!newest)
      throw Error("The run {} has no sound checkpoint yet. Train it with `sisa train`.",
                  run.folder.path.string());
  });
  return *newest;
}

TrainedModel::TrainedModel(const RunReference& run, const std::vector<std::string>& overrides,
                           const parallel::World& world)
    : device(at::kCPU) {
  const checkpoint::Store store(run.folder.checkpoints(), world);
  const checkpoint::Entry entry = find_checkpoint(run, store, world);
  step = entry.step;
  world.together([&] {
    recipe = parse_recipe(checkpoint::read_master(entry.path).state.recipe, entry.path.string(), overrides);
    recipe.run.output = run.folder.path;  // the folder may have moved
    device = open_device(recipe.run, world);
  });
  model = std::make_unique<model::LanguageModel>(recipe.model, recipe.run.precision, padding(recipe));
  const parallel::ParameterSpace::Options options{recipe.run.precision, device, /*training=*/false,
                                                  /*sharded=*/false};
  space_ =
      std::make_unique<parallel::ParameterSpace>(model->parameters(), options, world.rank(), world.size());
  const auto communicator = parallel::make_communicator(world, device);
  store.load(entry, *space_, *communicator);
}

}  // namespace sisa::launcher
