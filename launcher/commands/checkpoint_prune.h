// `sisa checkpoint prune`.
#pragma once

#include <string>

#include "checkpoint/retention.h"
#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct CheckpointPruneArguments {
  static constexpr const char* name = "checkpoint prune";
  std::string run;                  // RUN, without a step
  checkpoint::Retention retention;  // keep_last 0: every sound checkpoint stays
  bool damaged = false;             // what is not sound goes too
  bool dry_run = false;             // only say what would go
};
void add_options(Options& options, CheckpointPruneArguments& arguments);
// Returns failure if something that was to go could not be removed.
int run(const CheckpointPruneArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
