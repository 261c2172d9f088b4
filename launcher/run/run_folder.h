// A run's folder: recipe.yaml, metrics.jsonl, checkpoints/, lock and, for text that the run prepared itself,
// data/.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/store.h"
#include "launcher/recipe/recipe.h"
#include "model/language_model.h"
#include "parallel/communicator.h"
#include "parallel/parameter_space.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct RunFolder {
  std::filesystem::path path;
  std::filesystem::path recipe() const { return path / "recipe.yaml"; }
  std::filesystem::path metrics() const { return path / "metrics.jsonl"; }
  std::filesystem::path checkpoints() const { return path / "checkpoints"; }
  std::filesystem::path data() const { return path / "data"; }
  std::filesystem::path lock() const { return path / "lock"; }  // held by the process that trains
};

// What RUN[@STEP] on a command line names.
struct RunReference {
  RunFolder folder;
  // Absent: the newest sound checkpoint that can resume training or, where none can, the newest weights.
  std::optional<int64_t> step;
};
// Throws Error if the folder does not exist or the step is no number.
RunReference parse_run_reference(const std::string& text);
// Collective. Throws Error naming the steps that there are. What was passed over as damaged is told on rank
// 0's standard error.
checkpoint::Entry find_checkpoint(const RunReference& run, const checkpoint::Store& store,
                                  const parallel::World& world);

// A trained model, ready to compute; without optimizer state. The recipe is the one stored in the checkpoint.
struct TrainedModel {
  // Collective. `overrides` ("section.key=value") change the stored recipe, such as its device.
  TrainedModel(const RunReference& run, const std::vector<std::string>& overrides,
               const parallel::World& world);

  Recipe recipe;
  int64_t step = 0;
  at::Device device;
  std::unique_ptr<model::LanguageModel> model;

 private:
  std::unique_ptr<parallel::ParameterSpace> space_;  // holds the model's values
};

}  // namespace sisa::launcher
