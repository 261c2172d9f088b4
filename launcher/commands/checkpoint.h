// `sisa checkpoint list`, `verify` and `inspect`: the commands that only look at a run's checkpoints.
#pragma once

#include <string>

#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct CheckpointListArguments {
  static constexpr const char* name = "checkpoint list";
  std::string run;
};
void add_options(Options& options, CheckpointListArguments& arguments);
int run(const CheckpointListArguments& arguments, const parallel::World& world);

struct CheckpointVerifyArguments {
  static constexpr const char* name = "checkpoint verify";
  std::string run;  // RUN: its newest checkpoint; RUN@STEP
};
void add_options(Options& options, CheckpointVerifyArguments& arguments);
// Returns failure if the checkpoint is damaged.
int run(const CheckpointVerifyArguments& arguments, const parallel::World& world);

struct CheckpointInspectArguments {
  static constexpr const char* name = "checkpoint inspect";
  std::string run;  // RUN or RUN@STEP
};
void add_options(Options& options, CheckpointInspectArguments& arguments);
int run(const CheckpointInspectArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
