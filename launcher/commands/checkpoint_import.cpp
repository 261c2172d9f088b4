#include "launcher/commands/checkpoint_import.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "checkpoint/export.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/saver.h"
#include "checkpoint/store.h"
#include "common/error.h"
#include "common/file.h"
#include "common/precision.h"
#include "common/quantity.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/initial_weights.h"
#include "launcher/run/run_folder.h"
#include "launcher/run/version.h"
#include "model/language_model.h"
#include "parallel/communicator.h"
#include "parallel/parameter_space.h"

namespace sisa::launcher {
namespace {

using checkpoint::RunState;
using checkpoint::SafetensorsFile;

Recipe recipe_of(const CheckpointImportArguments& arguments, const RunState& state) {
  const bool told = arguments.recipe.empty();
  if (told && state.recipe.empty())
    throw Error("{} tells no recipe, as exports of sisa do. Name the model's with --recipe.",
                arguments.file.string());
  Recipe recipe = told ? parse_recipe(state.recipe, arguments.file.string(), arguments.overrides)
                       : load_recipe(arguments.recipe, arguments.overrides);
  recipe.run.output = arguments.output;
  recipe.run.init_from =
      std::filesystem::absolute(arguments.file);  // training here starts from these weights
  return recipe;
}

// In which all numbers of the file are kept as they are, whatever the run's precision.
common::Precision precision_of(const SafetensorsFile& file) {
  return std::any_of(file.tensors().begin(), file.tensors().end(),
                     [](const auto& tensor) { return tensor.second.type == c10::kDouble; })
             ? common::Precision::fp64
             : common::Precision::fp32;
}

}  // namespace

void add_options(Options& options, CheckpointImportArguments& arguments) {
  options.describe(
      "Make a run of a safetensors file: weights to evaluate, to generate with or to start from");
  options.add("FILE", arguments.file, "FILE", "safetensors file of `export` or of another program")
      .required();
  options.add("--output", arguments.output, "DIR", "the new run's folder").required();
  options.add("--recipe", arguments.recipe, "FILE",
              "recipe of the model [the one that `export` wrote into FILE]");
  add_overrides(options, arguments.overrides);
  options.footer(
      "The run holds weights alone. `sisa train DIR/recipe.yaml` begins at step 0 with them, as does any "
      "other run with --set run.init_from=DIR.");
}

int run(const CheckpointImportArguments& arguments, const parallel::World& world) {
  const RunFolder folder{arguments.output};
  const checkpoint::Store store(folder.checkpoints(), world);
  Recipe recipe;
  RunState state;
  auto precision = common::Precision::fp32;
  world.together([&] {
    const SafetensorsFile file(arguments.file);
    precision = precision_of(file);
    state = checkpoint::state_from_metadata(file);
    recipe = recipe_of(arguments, state);
    if (std::filesystem::exists(folder.recipe()) || !store.list().empty())
      throw Error("{} holds a run already. Choose another --output.", folder.path.string());
  });
  state.recipe = print_recipe(recipe);
  state.code_version = code_version();

  model::LanguageModel model(recipe.model, precision, /*pad_to=*/1);
  parallel::ParameterSpace space(model.parameters(), {precision, at::kCPU, /*training=*/false}, world.rank(),
                                 world.size());
  const auto communicator = parallel::make_communicator(world, at::kCPU);
  const std::string source = load_initial_weights(arguments.file.string(), space, *communicator, world);
  const checkpoint::SaveReport report = checkpoint::Saver(store).save(state, space, {.moments = false});
  world.together([&] {
    if (!world.is_root()) return;
    common::write_file_atomically(folder.recipe(), state.recipe);
    fmt::print("{}: {} elements of {}, {}\n", store.find(report.step).path.string(),
               common::format_count(space.num_parameters()), source,
               common::format_bytes(static_cast<double>(report.bytes)));
  });
  return common::success;
}

}  // namespace sisa::launcher
