// `sisa plan`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct PlanArguments {
  static constexpr const char* name = "plan";
  std::filesystem::path recipe;
  std::vector<std::filesystem::path> overlays;
  std::vector<std::string> overrides;
  int64_t ranks = 0;  // 0: as many as run this command
  bool print_recipe = false;
};
void add_options(Options& options, PlanArguments& arguments);
int run(const PlanArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
