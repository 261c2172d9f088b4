// `sisa evaluate`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct EvaluateArguments {
  static constexpr const char* name = "evaluate";
  std::string run;                           // RUN or RUN@STEP
  std::vector<std::filesystem::path> files;  // own texts or tokens to score; none: what is held out
  std::vector<std::string> overrides;        // of the recipe in the checkpoint: "run.device=cpu"
  bool monitors = false;                     // show also what the model says about itself
};
void add_options(Options& options, EvaluateArguments& arguments);
int run(const EvaluateArguments& arguments, const parallel::World& world);
const char* out_of_memory_advice(const EvaluateArguments& arguments);

}  // namespace sisa::launcher
