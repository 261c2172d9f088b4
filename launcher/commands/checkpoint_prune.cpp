#include "launcher/commands/checkpoint_prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/folders.h"
#include "checkpoint/retention.h"
#include "checkpoint/store.h"
#include "common/error.h"
#include "common/file.h"
#include "common/file_lock.h"
#include "common/quantity.h"
#include "common/text.h"
#include "launcher/run/opened_run.h"
#include "launcher/run/run_folder.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
using checkpoint::Entry;
using checkpoint::Store;
using checkpoint::Verdict;

struct Doomed {
  fs::path path;
  std::string reason;
  int64_t bytes = 0;
};

// Reads the root's `steps` whole; those that are gone meanwhile are absent. Collective.
std::map<int64_t, Verdict> verify(const Store& store, std::vector<int64_t> steps) {
  store.world().broadcast(steps);
  std::map<int64_t, Verdict> verdicts;
  for (const int64_t step : steps) {
    Verdict verdict = store.verify({.step = step, .path = store.folder() / checkpoint::folder_name(step)});
    if (!verdict.gone) verdicts[step] = std::move(verdict);
  }
  return verdicts;
}

// Notes what was found in the entries.
void mark(std::vector<Entry>& entries, const std::map<int64_t, Verdict>& verdicts) {
  for (Entry& entry : entries) {
    const auto found = verdicts.find(entry.step);
    if (found == verdicts.end() || found->second.sound()) continue;
    entry.unreadable = found->second.damage.empty();
    entry.problem = (entry.unreadable ? found->second.unreadable : found->second.damage).front();
  }
}

// The newest checkpoint that a run can resume from.
const Entry* newest(const std::vector<Entry>& entries) {
  const auto found = std::find_if(entries.rbegin(), entries.rend(),
                                  [](const Entry& e) { return e.complete() && e.has_moments; });
  return found == entries.rend() ? nullptr : &*found;
}

// The steps that are read before anything goes.
std::vector<int64_t> steps_to_verify(const std::vector<Entry>& entries,
                                     const CheckpointPruneArguments& arguments) {
  std::vector<int64_t> steps;
  for (const Entry& entry : entries)
    if (entry.complete() &&
        (arguments.damaged || (arguments.retention.keep_last > 0 && &entry == newest(entries))))
      steps.push_back(entry.step);
  return steps;
}

// What goes, and why. `entries` are marked. What could not be read stays: it may be sound.
std::vector<Doomed> choose(const std::vector<Entry>& entries, const CheckpointPruneArguments& arguments) {
  std::vector<Doomed> doomed;
  for (const Entry& entry : superfluous(entries, arguments.retention))
    doomed.push_back({entry.path, "no rule keeps it", entry.bytes});
  if (!arguments.damaged) return doomed;
  for (const Entry& entry : entries)
    if (!entry.complete() && !entry.unreadable)
      doomed.push_back({entry.path, entry.problem, checkpoint::folder_bytes(entry.path)});
  if (!doomed.empty() && newest(entries) == nullptr)
    throw Error("{} holds no sound checkpoint that a run could resume from. Nothing was removed.",
                entries.front().path.parent_path().string());
  return doomed;
}

// An older checkpoint is needed if the newest one, the only one that was read, is not sound.
void check_newest(const std::map<int64_t, Verdict>& verdicts) {
  for (const auto& [step, verdict] : verdicts)
    if (!verdict.sound())
      throw Error("The newest checkpoint, {}, {} Nothing was removed, since an older one may be needed.{}",
                  checkpoint::folder_name(step), common::as_sentence(verdict.summary()),
                  verdict.damage.empty() ? "" : " --damaged removes it and keeps sound ones by the rules.");
}

// `latest` names the newest again, should that have been a damaged one.
void correct_latest(const fs::path& folder, const std::vector<Entry>& entries) {
  const fs::path file = folder / "latest";
  if (!fs::exists(file) || fs::exists(folder / common::split(common::read_file(file), '\n').front())) return;
  if (const Entry* entry = newest(entries))
    common::write_file_atomically(file, entry->path.filename().string() + "\n");
}

}  // namespace

void add_options(Options& options, CheckpointPruneArguments& arguments) {
  checkpoint::Retention& retention = arguments.retention;
  options.describe("Remove checkpoints that no rule keeps, and what killed runs left; quicker with mpirun");
  options.add("RUN", arguments.run, "RUN", "a run's folder").required();
  const Option last =
      options.whole("--keep-last", retention.keep_last, "K", "keep the newest K [all]", 1, 1'000'000);
  options
      .read("--keep-every", "TOKENS", "keep also the first at or after each multiple of so many tokens",
            [&retention](const std::string& text) {
              retention.keep_every = common::parse_count(text, common::Unit::tokens);
              if (retention.keep_every == 0) throw Error("'{}' is no number of tokens above 0.", text);
            })
      .needs(last);
  options.flag("--keep-best", retention.keep_best, "keep also the one with the smallest held-out loss")
      .needs(last);
  options.flag("--damaged", arguments.damaged, "read every checkpoint, and remove those that are not sound");
  options.flag("--dry-run", arguments.dry_run, "only say what would go");
  options.footer("Weights saved at chosen steps (checkpoint.save_at) always stay.");
}

int run(const CheckpointPruneArguments& arguments, const parallel::World& world) {
  RunFolder folder;
  std::optional<common::FileLock> lock;  // keeps a run from training here meanwhile
  std::string unlocked;                  // why there is none
  std::vector<Entry> entries;            // the root's
  world.together([&] {
    const RunReference reference = parse_run_reference(arguments.run);
    folder = reference.folder;
    if (reference.step)
      throw Error("prune chooses among all checkpoints of a run: name the folder alone, {}.",
                  folder.path.string());
    if (!world.is_root()) return;
    try {
      if (!arguments.dry_run) lock = common::FileLock::acquire(folder.lock(), std::chrono::milliseconds(0));
      if (arguments.dry_run ? common::FileLock::is_held(folder.lock()) : !lock)
        unlocked = common::FileLock::holder(folder.lock()) + " is training here";
    } catch (const SystemError& error) {
      unlocked = error.what();
    }
    entries = Store(folder.checkpoints(), world).list();
  });
  const Store store(folder.checkpoints(), world);
  const auto verdicts = verify(store, steps_to_verify(entries, arguments));

  bool failed = false;
  world.together([&] {
    if (!world.is_root()) return;
    if (!arguments.damaged) check_newest(verdicts);
    mark(entries, verdicts);
    std::vector<Doomed> doomed = choose(entries, arguments);
    const bool any = fs::exists(store.folder());
    const std::vector<fs::path> left = any ? checkpoint::leftovers(store.folder()) : std::vector<fs::path>{};
    if (unlocked.empty())
      for (const fs::path& path : left)
        doomed.push_back({path, "left by a run that was killed", checkpoint::folder_bytes(path)});
    else if (!left.empty())
      fmt::print("{}: what is unfinished stays.\n", unlocked);

    int64_t bytes = 0;
    std::vector<std::string> remarks;
    for (const Doomed& item : doomed) {
      fmt::print("{:<20}  {:>12}  {}\n", item.path.filename().string(),
                 common::format_bytes(static_cast<double>(item.bytes)), item.reason);
      bytes += item.bytes;
      if (!arguments.dry_run) checkpoint::delete_folder(item.path, store.disk(), remarks);
    }
    if (!arguments.dry_run) correct_latest(store.folder(), entries);
    if (arguments.damaged)
      for (const Entry& entry : entries)
        if (entry.unreadable)
          remarks.push_back(fmt::format("{} stays, since it cannot be read and may be sound: {}",
                                        entry.path.filename().string(), entry.problem));
    for (const std::string& remark : remarks) fmt::print(stderr, "{}\n", remark);
    failed = !remarks.empty();
    fmt::print("{} of {} checkpoints and leftovers {}, {}\n", doomed.size(), entries.size() + left.size(),
               arguments.dry_run ? "would go" : "went", common::format_bytes(static_cast<double>(bytes)));
  });
  return failed ? common::failure : common::success;
}

}  // namespace sisa::launcher
