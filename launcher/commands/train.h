// `sisa train`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/quantity.h"
#include "launcher/commands/options.h"
#include "launcher/run/agreement.h"
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
  std::vector<std::string> allowed_changes;     // "section.key"
};
void add_options(Options& options, TrainArguments& arguments);
int run(const TrainArguments& arguments, const parallel::World& world);
const char* out_of_memory_advice(const TrainArguments& arguments);
// The options. Recipes, with --overlay and --set, are compared key by key once they are read.
Facts facts_to_agree_on(const TrainArguments& arguments, const std::string& typed);

}  // namespace sisa::launcher
