#include "launcher/run/opened_run.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "checkpoint/master_file.h"
#include "common/error.h"
#include "common/precision.h"
#include "launcher/run/device.h"
#include "launcher/run/plan.h"
#include "parallel/communicator.h"

namespace sisa::launcher {
namespace {

RunReference parse_together(const std::string& text, const parallel::World& world) {
  RunReference reference;
  world.together([&] { reference = parse_run_reference(text); });
  return reference;
}

// The newest checkpoint of weights alone: all that an imported run has. Collective.
std::optional<checkpoint::Entry> newest_weights(const checkpoint::Store& store) {
  const parallel::World& world = store.world();
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

// Collective.
std::optional<checkpoint::Entry> newest_sound(const checkpoint::Store& store) {
  const checkpoint::Search found = store.latest_sound();
  const auto newest = found.sound ? found.sound : newest_weights(store);
  if (store.world().is_root())
    for (const auto& sentences : {found.unreadable, found.damaged})
      for (const std::string& sentence : sentences) fmt::print(stderr, "{}\n", sentence);
  if (!newest && !(found.damaged.empty() && found.unreadable.empty()))
    throw parallel::SharedError(
        fmt::format(
            "None of the checkpoints in {} can be used; the lines above say why.{}", store.folder().string(),
            found.unreadable.empty() ? "" : " Make those that cannot be read readable, and try again."),
        common::failure);
  return newest;
}

// Collective.
checkpoint::Entry find_checkpoint(const RunReference& run, const checkpoint::Store& store) {
  std::optional<checkpoint::Entry> found;
  if (!run.step) found = newest_sound(store);
  store.world().together([&] {
    if (run.step) found = store.find(*run.step);
    if (!found)
      throw Error("The run {} has no checkpoint yet. Train it with `sisa train`.", run.folder.path.string());
  });
  return *found;
}

// Collective. The model of `recipe`, in its precision, with the weights of the run's checkpoint.
TrainedModel load(const OpenedRun& run, Recipe recipe, const at::Device& device, int64_t pad_to,
                  bool training) {
  const parallel::World& world = run.store.world();
  TrainedModel trained{.recipe = std::move(recipe), .step = run.checkpoint.step, .device = device};
  const common::Precision precision = trained.recipe.run.precision;
  trained.model = std::make_unique<model::LanguageModel>(trained.recipe.model, precision, pad_to);
  const parallel::ParameterSpace::Options options{precision, device, training, /*sharded=*/false};
  trained.space = std::make_unique<parallel::ParameterSpace>(trained.model->parameters(), options,
                                                             world.rank(), world.size());
  const auto communicator = parallel::make_communicator(world, device);
  run.store.load(run.checkpoint, *trained.space, *communicator, {.moments = false});
  return trained;
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

OpenedRun::OpenedRun(const std::string& reference, const parallel::World& world)
    : OpenedRun(parse_together(reference, world), world) {}

OpenedRun::OpenedRun(const RunReference& reference, const parallel::World& world)
    : folder(reference.folder),
      store(folder.checkpoints(), world),
      checkpoint(find_checkpoint(reference, store)) {}

checkpoint::Contents OpenedRun::contents() const {
  return checkpoint::read_master(checkpoint.path);
}

Recipe OpenedRun::recipe(const std::vector<std::string>& overrides) const {
  Recipe recipe = parse_recipe(contents().state.recipe, checkpoint.path.string(), overrides);
  recipe.run.output = folder.path;
  return recipe;
}

TrainedModel OpenedRun::load_model(const std::vector<std::string>& overrides) const {
  Recipe as_told;
  at::Device device = at::kCPU;
  store.world().together([&] {
    as_told = recipe(overrides);
    device = open_device(as_told.run, store.world());
  });
  const int64_t pad_to = padding(as_told);
  return load(*this, std::move(as_told), device, pad_to, /*training=*/false);
}

TrainedModel OpenedRun::load_model_with_gradients() const {
  Recipe in_fp64;
  store.world().together([&] {
    in_fp64 = recipe();
    in_fp64.run.device = "cpu";
    in_fp64.run.precision = common::Precision::fp64;
    open_device(in_fp64.run, store.world());
  });
  return load(*this, std::move(in_fp64), at::kCPU, /*pad_to=*/1, /*training=*/true);
}

}  // namespace sisa::launcher
