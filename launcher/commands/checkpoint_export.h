// `sisa checkpoint export`.
#pragma once

#include <c10/core/ScalarType.h>

#include <filesystem>
#include <string>

#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct CheckpointExportArguments {
  static constexpr const char* name = "checkpoint export";
  std::string run;                     // RUN or RUN@STEP
  std::filesystem::path output;        // must not exist
  bool hugging_face = false;           // a folder for `transformers`; else a safetensors file
  c10::ScalarType type = c10::kFloat;  // of the numbers
  std::string tokenizer;               // of the folder: a file, or "bytes"; "": the recipe's
};
void add_options(Options& options, CheckpointExportArguments& arguments);
int run(const CheckpointExportArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
