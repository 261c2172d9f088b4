// `sisa checkpoint diff`.
#pragma once

#include <string>

#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct CheckpointDiffArguments {
  static constexpr const char* name = "checkpoint diff";
  std::string a, b;  // RUN or RUN@STEP
};
void add_options(Options& options, CheckpointDiffArguments& arguments);
// Returns success if both hold the same state and arrays, bit for bit, else failure.
int run(const CheckpointDiffArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
