// `sisa doctor`.
#pragma once

#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct DoctorArguments {
  static constexpr const char* name = "doctor";
};
void add_options(Options& options, DoctorArguments& arguments);
// Returns failure if something is wrong on any rank.
int run(const DoctorArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
