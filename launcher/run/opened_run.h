// A run that is there already, as RUN or RUN@STEP on a command line names it.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/contents.h"
#include "checkpoint/store.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/run_folder.h"
#include "model/language_model.h"
#include "parallel/parameter_space.h"
#include "parallel/world.h"

namespace sisa::launcher {

// A run and, if it was named, the step of one of its checkpoints.
struct RunReference {
  RunFolder folder;
  std::optional<int64_t> step;
};
// Not collective. Throws Error if the folder does not exist or the step is no number.
RunReference parse_run_reference(const std::string& text);

// A network that holds the weights of a checkpoint, whole on every rank. The optimizer's moments are not
// loaded.
struct TrainedModel {
  Recipe recipe;  // that the model was built from
  int64_t step = 0;
  at::Device device;
  std::unique_ptr<model::LanguageModel> model;
  std::unique_ptr<parallel::ParameterSpace> space;  // holds the model's values and, if asked for, gradients
};

// One checkpoint of a run, chosen. The world must outlive it. Errors are thrown as parallel::SharedError.
struct OpenedRun {
  // Collective. Where the reference names no step, the newest checkpoint that is sound and can resume training
  // or, where there is none, the newest weights. Newer ones that are passed over, because they are damaged or
  // cannot be read, are named on rank 0's standard error. Throws Error if there is no such run, step or
  // checkpoint, naming the steps that there are.
  OpenedRun(const std::string& reference, const parallel::World& world);
  OpenedRun(const RunReference& reference, const parallel::World& world);

  // Not collective: they read the checkpoint's master file.
  checkpoint::Contents contents() const;
  // The recipe that the checkpoint was trained with, changed by `overrides` ("section.key=value"). Its
  // run.output is this folder, since the folder may have been moved. Throws Error if an override does not
  // fit.
  Recipe recipe(const std::vector<std::string>& overrides = {}) const;

  // Collective. The model that recipe(overrides) describes, in its precision and on its device, which is
  // opened for this rank (open_device). Without gradients.
  TrainedModel load_model(const std::vector<std::string>& overrides = {}) const;
  // Collective. The model with gradients, which are zero, in fp64 on the CPU and without padding, whatever
  // the recipe says.
  TrainedModel load_model_with_gradients() const;

  const RunFolder folder;
  const checkpoint::Store store;
  const checkpoint::Entry checkpoint;
};

}  // namespace sisa::launcher
