#include "launcher/commands/train.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string>

#include "checkpoint/store.h"
#include "common/error.h"
#include "common/quantity.h"
#include "launcher/recipe/keys.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/device.h"
#include "launcher/run/opened_run.h"
#include "launcher/run/reporter.h"
#include "launcher/run/run_folder.h"
#include "launcher/run/trainer.h"

namespace sisa::launcher {

namespace fs = std::filesystem;

namespace {

// `arguments.resume` is auto, never or a step's number, as add_options has checked.
TrainOptions train_options(const TrainArguments& arguments) {
  TrainOptions options{.stop_after = arguments.stop_after, .allowed_changes = arguments.allowed_changes};
  if (arguments.resume == "never") {
    options.resume = TrainOptions::Resume::never;
  } else if (arguments.resume != "auto") {
    options.resume = TrainOptions::Resume::step;
    options.resume_step = std::stoll(arguments.resume);
  }
  for (const std::string& key : options.allowed_changes) {
    const size_t dot = key.find('.');
    if (dot == std::string::npos)
      throw Error("--allow-change {}: write section.key, such as train.batch.", key);
    find_key(key.substr(0, dot), key.substr(dot + 1), "--allow-change");
  }
  return options;
}

// The recipe that the parent's checkpoint was trained with. Collective.
Recipe recipe_of(const RunReference& parent, const TrainArguments& arguments, const parallel::World& world) {
  const OpenedRun opened(parent, world);
  Recipe recipe;
  world.together([&] {
    if (!arguments.overlays.empty())
      throw Error("--overlay needs a RECIPE to lie over; with --from alone, change keys with --set.");
    recipe = opened.recipe(arguments.overrides);
    recipe.run.output.clear();
  });
  return recipe;
}

// A run's own recipe.yaml names the folder that the run was written to. If the run has been moved since, it
// goes on where it is, and `recipe` is changed to say so. Returns a sentence about that, or "". Throws Error
// if both folders hold checkpoints.
std::string follow_moved_run(Recipe& recipe, const fs::path& file, const parallel::World& world) {
  const RunFolder here{file.has_parent_path() ? file.parent_path() : "."}, named{recipe.run.output};
  const auto origin = recipe.origins.find("run.output");
  const bool own = origin != recipe.origins.end() && origin->second.starts_with(file.string() + ":");
  if (!own || file.filename() != here.recipe().filename() ||
      fs::weakly_canonical(here.path) == fs::weakly_canonical(named.path))
    return "";
  const auto holds_checkpoints = [&](const RunFolder& folder) {
    return !checkpoint::Store(folder.checkpoints(), world).list().empty();
  };
  if (!holds_checkpoints(here)) return "";
  if (holds_checkpoints(named))
    throw Error(
        "{} lies beside the checkpoints of a run, but its run.output names {}, which holds checkpoints too. "
        "Say with "
        "--output which of the two is to go on.",
        file.string(), named.path.string());
  recipe.run.output = here.path;
  return fmt::format("Note: this run was moved here from {}; it goes on in {}.", named.path.string(),
                     here.path.string());
}

// The parent's files are never written to.
void check_own_folder(const Recipe& recipe, const RunReference& parent) {
  if (fs::weakly_canonical(recipe.run.output) == fs::weakly_canonical(parent.folder.path))
    throw Error("{} is the run to start from (--from). Give the new run a folder of its own with --output.",
                parent.folder.path.string());
}

}  // namespace

void add_options(Options& options, TrainArguments& arguments) {
  options.describe("Train a model; start it with mpirun for several ranks");
  const Option recipe = add_recipe(options, arguments.recipe, arguments.overlays, arguments.overrides);
  // Without RECIPE, the recipe that is stored in the parent's checkpoint is used.
  options
      .add("--from", arguments.from, "RUN[@STEP]",
           "begin a new run with the whole state of another one's checkpoint; RECIPE may then be left out")
      .replaces(recipe);
  options.add("--output", arguments.output, "DIR", "the run's folder; wins over run.output of the recipe");
  options.read("--resume", "auto|never|STEP",
               "auto: from the newest sound checkpoint, if there is one; never; or a step's number [auto]",
               [&arguments](const std::string& text) {
                 const bool number =
                     !text.empty() && text.size() < 19 && std::all_of(text.begin(), text.end(), [](char c) {
                       return std::isdigit(static_cast<unsigned char>(c));
                     });
                 if (text != "auto" && text != "never" && !number)
                   throw Error("'{}' is none of auto, never and a step's number.", text);
                 arguments.resume = text;
               });
  options.add(
      "--allow-change", arguments.allowed_changes, "SECTION.KEY",
      "go on although this key's value is not the checkpoint's, where docs/recipes.md says `refused`; may "
      "be repeated");
  options.read(
      "--stop-after", "QUANTITY",
      "save and stop after so much of this run's work, such as '100 steps' or '30min'",
      [&arguments](const std::string& text) {
        using common::Unit;
        const common::Quantity quantity = common::parse_quantity(text);
        if (quantity.value <= 0 ||
            (quantity.unit != Unit::steps && quantity.unit != Unit::tokens && quantity.unit != Unit::seconds))
          throw Error("'{}' is no quantity above 0 of steps, tokens or time, such as '100 steps' or '30min'.",
                      text);
        arguments.stop_after = quantity;
      });
}

const char* out_of_memory_advice(const TrainArguments&) {
  return "For activations, lower train.micro_batch or raise train.recompute; for weights and optimizer, "
         "use more ranks with optimizer.sharded: true (`sisa plan RECIPE --ranks N` shows them).";
}

Facts facts_to_agree_on(const TrainArguments& arguments, const std::string&) {
  const auto& stop = arguments.stop_after;
  return {{"the command", TrainArguments::name},
          {"RECIPE", arguments.recipe.empty() ? "" : "given"},
          {"--from", arguments.from},
          {"--output", arguments.output.string()},
          {"--resume", arguments.resume},
          {"--stop-after", stop ? fmt::format("{} {}", stop->value, common::unit_name(stop->unit)) : ""},
          {"--allow-change", fmt::format("{}", fmt::join(arguments.allowed_changes, ", "))}};
}

int run(const TrainArguments& arguments, const parallel::World& world) {
  Recipe recipe;
  TrainOptions options;
  at::Device device = at::kCPU;
  std::string moved;  // a sentence, if the run's folder was
  world.together([&] {
    options = train_options(arguments);
    if (!arguments.from.empty()) options.from = parse_run_reference(arguments.from);
  });
  if (arguments.recipe.empty()) recipe = recipe_of(*options.from, arguments, world);
  world.together([&] {
    if (!arguments.recipe.empty())
      recipe = load_recipe(arguments.recipe, arguments.overrides, arguments.overlays);
    if (!arguments.output.empty())
      recipe.run.output = arguments.output;
    else
      moved = follow_moved_run(recipe, arguments.recipe, world);
  });
  require_agreement(world, recipe_facts(recipe),
                    "All ranks train by one recipe: give them the same files and options.");
  world.together([&] {
    check_ready_to_train(recipe, world.size());
    if (options.from) check_own_folder(recipe, *options.from);
    device = open_device(recipe.run, world);
  });
  if (!moved.empty()) Reporter(world.is_root(), "").say(moved);
  return Trainer(recipe, options, device, world).run();
}

}  // namespace sisa::launcher
