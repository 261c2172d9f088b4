// Where a training process begins: at the start of the run, at one of its checkpoints or at another run's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpoint/store.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/learner.h"
#include "launcher/run/lineage.h"
#include "launcher/run/progress.h"
#include "launcher/run/reporter.h"
#include "launcher/run/run_folder.h"
#include "launcher/run/train_options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct Start {
  Progress progress;
  std::vector<Ancestor> lineage;
  bool own_checkpoint = false;          // they are those of a checkpoint of this run
  std::optional<double> held_out_loss;  // at that step, nats a token; absent if it was not evaluated
};

// Collective. Fills the learner with the state of a checkpoint of this run; else of one of options.from;
// else with the weights that are drawn or that run.init_from names, for the start of the run. Reports which
// it was, what was passed over as damaged, what has changed in the recipe since the checkpoint, and training
// data (`data`: its Sources::fingerprint) that the checkpoint was not trained on. Throws Error, the same on
// every rank, if options ask for what is not there, and if a key of the recipe has changed with which a run
// does not go on unasked (recipe_changes.h).
Start restore(const Recipe& recipe, const TrainOptions& options, const RunFolder& folder,
              const checkpoint::Store& store, const std::string& data, Learner& learner, Reporter& reporter,
              const parallel::World& world);

}  // namespace sisa::launcher
