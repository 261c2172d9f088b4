#include "launcher/commands/checkpoint.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <string>
#include <vector>

#include "checkpoint/store.h"
#include "common/error.h"
#include "common/quantity.h"
#include "launcher/run/opened_run.h"

namespace sisa::launcher {
namespace {

std::string describe(const checkpoint::Entry& entry) {
  if (!entry.complete()) return fmt::format("step {:>9}  not usable: {}\n", entry.step, entry.problem);
  const auto written = static_cast<std::time_t>(entry.written);
  return fmt::format("step {:>9}  {:%Y-%m-%d %H:%M:%S} UTC  {:>12}{}\n", common::format_count(entry.step),
                     fmt::gmtime(written), common::format_bytes(static_cast<double>(entry.bytes)),
                     entry.has_moments ? "" : "  weights only");
}

}  // namespace

void add_options(Options& options, CheckpointListArguments& arguments) {
  options.describe("Every checkpoint of a run");
  options.add("RUN", arguments.run, "RUN", "a run's folder").required();
}

int run(const CheckpointListArguments& arguments, const parallel::World& world) {
  std::string text;
  world.together([&] {
    const checkpoint::Store store(parse_run_reference(arguments.run).folder.checkpoints(), world);
    for (const checkpoint::Entry& entry : store.list()) text += describe(entry);
    if (text.empty()) text = "No checkpoints.\n";
  });
  if (world.is_root()) fmt::print("{}", text);
  return common::success;
}

void add_options(Options& options, CheckpointVerifyArguments& arguments) {
  options.describe("Read everything and compare checksums; quicker with mpirun");
  add_run(options, arguments.run);
}

int run(const CheckpointVerifyArguments& arguments, const parallel::World& world) {
  const OpenedRun opened(arguments.run, world, OpenedRun::Newest::complete);
  const checkpoint::Entry& entry = opened.checkpoint;
  const std::vector<std::string> problems = opened.store.verify(entry);
  if (world.is_root()) {
    for (const std::string& problem : problems) fmt::print("{}\n", problem);
    if (problems.empty())
      fmt::print("{}: sound, {} read\n", entry.path.string(),
                 common::format_bytes(static_cast<double>(entry.bytes)));
  }
  return problems.empty() ? common::success : common::failure;
}

void add_options(Options& options, CheckpointInspectArguments& arguments) {
  options.describe("State, arrays and recipe of a checkpoint");
  add_run(options, arguments.run);
}

int run(const CheckpointInspectArguments& arguments, const parallel::World& world) {
  const OpenedRun opened(arguments.run, world);
  std::string text;
  world.together([&] { text = opened.store.inspect(opened.checkpoint); });
  if (world.is_root()) fmt::print("{}", text);
  return common::success;
}

}  // namespace sisa::launcher
