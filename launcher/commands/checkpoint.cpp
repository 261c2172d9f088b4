#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/store.h"
#include "common/error.h"
#include "common/quantity.h"
#include "launcher/commands/commands.h"
#include "launcher/run/run_folder.h"

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

int run_checkpoint_list(const CheckpointListArguments& arguments, const parallel::World& world) {
  std::string text;
  world.together([&] {
    const checkpoint::Store store(parse_run_reference(arguments.run).folder.checkpoints(), world);
    for (const checkpoint::Entry& entry : store.list()) text += describe(entry);
    if (text.empty()) text = "No checkpoints.\n";
  });
  if (world.is_root()) fmt::print("{}", text);
  return common::success;
}

int run_checkpoint_verify(const CheckpointVerifyArguments& arguments, const parallel::World& world) {
  RunReference run;
  world.together([&] { run = parse_run_reference(arguments.run); });
  const checkpoint::Store store(run.folder.checkpoints(), world);
  checkpoint::Entry entry;
  world.together([&] {
    const auto latest = run.step ? store.find(*run.step) : store.latest();
    if (!latest)
      throw Error("{} holds no complete checkpoint; `sisa checkpoint list` shows what there is.",
                  run.folder.path.string());
    entry = *latest;
  });
  const std::vector<std::string> problems = store.verify(entry);
  if (world.is_root()) {
    for (const std::string& problem : problems) fmt::print("{}\n", problem);
    if (problems.empty())
      fmt::print("{}: sound, {} read\n", entry.path.string(),
                 common::format_bytes(static_cast<double>(entry.bytes)));
  }
  return problems.empty() ? common::success : common::failure;
}

int run_checkpoint_inspect(const CheckpointInspectArguments& arguments, const parallel::World& world) {
  RunReference run;
  world.together([&] { run = parse_run_reference(arguments.run); });
  const checkpoint::Store store(run.folder.checkpoints(), world);
  const checkpoint::Entry entry = find_checkpoint(run, store, world);
  std::string text;
  world.together([&] { text = store.inspect(entry); });
  if (world.is_root()) fmt::print("{}", text);
  return common::success;
}

}  // namespace sisa::launcher
