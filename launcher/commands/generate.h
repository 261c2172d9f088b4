// `sisa generate`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/commands/options.h"
#include "model/generate.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct GenerateArguments {
  static constexpr const char* name = "generate";
  std::string run;                                  // RUN or RUN@STEP
  std::vector<std::string> overrides;               // of the recipe in the checkpoint: "run.device=cpu"
  std::vector<std::string> prompts;                 // these come first, then the contents of prompt_files
  std::vector<std::filesystem::path> prompt_files;  // of both together there is at least one
  model::GenerateOptions options;                   // ranges not yet checked
};
void add_options(Options& options, GenerateArguments& arguments);
int run(const GenerateArguments& arguments, const parallel::World& world);
const char* out_of_memory_advice(const GenerateArguments& arguments);

}  // namespace sisa::launcher
