#include "launcher/commands/checkpoint.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/folders.h"
#include "checkpoint/store.h"
#include "common/error.h"
#include "common/quantity.h"
#include "launcher/run/opened_run.h"

namespace sisa::launcher {
namespace {

std::string describe(const checkpoint::Entry& entry) {
  if (!entry.complete())
    return fmt::format("step {:>9}  {}: {}\n", entry.step, entry.unreadable ? "cannot be read" : "not usable",
                       entry.problem);
  const auto written = static_cast<std::time_t>(entry.written);
  return fmt::format("step {:>9}  {:%Y-%m-%d %H:%M:%S} UTC  {:>12}{}\n", common::format_count(entry.step),
                     fmt::gmtime(written), common::format_bytes(static_cast<double>(entry.bytes)),
                     entry.has_moments ? "" : "  weights only");
}

void print(const std::filesystem::path& path, const checkpoint::Verdict& verdict) {
  if (verdict.gone) {
    fmt::print("{} was deleted or replaced while it was read: a run trains here\n", path.string());
  } else if (verdict.sound()) {
    fmt::print("{}: sound, {} read\n", path.string(),
               common::format_bytes(static_cast<double>(checkpoint::folder_bytes(path))));
  } else {
    fmt::print("{} {}:\n", path.string(), verdict.damage.empty() ? "cannot be read" : "is damaged");
    for (const auto& sentences : {verdict.damage, verdict.unreadable})
      for (const std::string& sentence : sentences) fmt::print("  {}\n", sentence);
  }
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
  options.describe("Read every checkpoint of a run whole and compare checksums; quicker with mpirun");
  add_run(options, arguments.run);
  options.footer("RUN@STEP reads that checkpoint alone. Exit status 1: one of them is not sound.");
}

int run(const CheckpointVerifyArguments& arguments, const parallel::World& world) {
  RunReference reference;
  std::vector<int64_t> steps;  // the oldest first
  world.together([&] {
    reference = parse_run_reference(arguments.run);
    const checkpoint::Store store(reference.folder.checkpoints(), world);
    if (reference.step) {
      steps = {store.find(*reference.step).step};
    } else if (world.is_root()) {
      for (const checkpoint::Entry& entry : store.list()) steps.push_back(entry.step);
      std::sort(steps.begin(), steps.end());
    }
  });
  world.broadcast(steps);
  if (steps.empty())
    throw parallel::SharedError(fmt::format("{} holds no checkpoint.", reference.folder.path.string()));

  const checkpoint::Store store(reference.folder.checkpoints(), world);
  bool sound = true;
  for (const int64_t step : steps) {
    const checkpoint::Entry entry{.step = step, .path = store.folder() / checkpoint::folder_name(step)};
    const checkpoint::Verdict verdict = store.verify(entry);
    sound = sound && (verdict.sound() || verdict.gone);
    if (world.is_root()) print(entry.path, verdict);
  }
  return sound ? common::success : common::failure;
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
