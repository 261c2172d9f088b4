// `sisa checkpoint import`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct CheckpointImportArguments {
  static constexpr const char* name = "checkpoint import";
  std::filesystem::path file;          // safetensors
  std::filesystem::path recipe;        // "": that in the file's metadata
  std::vector<std::string> overrides;  // of the recipe
  std::filesystem::path output;        // the new run's folder
};
void add_options(Options& options, CheckpointImportArguments& arguments);
int run(const CheckpointImportArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
