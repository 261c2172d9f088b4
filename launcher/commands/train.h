// `sisa train`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/quantity.h"
#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct TrainArguments {
  static constexpr const char* name = "train";
  std::filesystem::path recipe;                 // "": that of the checkpoint in `from`
  std::vector<std::filesystem::path> overlays;  // recipes to lay over it
  std::vector<std::string> overrides;           // "section.key=value"
  std::filesystem::path output;                 // "": the recipe's run.output
  std::string from;                             // RUN or RUN@STEP, whose state begins the run; "": none
  std::string resume = "auto";                  // auto, never or a step's number
  std::optional<common::Quantity> stop_after;   // steps, tokens or seconds
};
void add_options(Options& options, TrainArguments& arguments);
int run(const TrainArguments& arguments, const parallel::World& world);
const char* out_of_memory_advice(const TrainArguments& arguments);

}  // namespace sisa::launcher
