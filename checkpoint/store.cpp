#include "checkpoint/store.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>
#include <tuple>
#include <utility>

#include "checkpoint/damage.h"
#include "checkpoint/folders.h"
#include "checkpoint/master_file.h"
#include "checkpoint/rank_file.h"
#include "common/error.h"
#include "common/quantity.h"
#include "common/text.h"

namespace sisa::checkpoint {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

// The length in bytes that each file of a checkpoint has at least.
std::map<std::string, int64_t> lengths_of(const Contents& contents) {
  std::map<std::string, int64_t> lengths;
  for (int rank = 0; rank < contents.world_size; ++rank) lengths[rank_file_name(rank)] = 1;
  for (const StoredSlice& s : contents.sources)
    lengths[s.file] = std::max(lengths[s.file], s.offset + s.bytes());
  return lengths;
}

// Throws Damage if a file is missing or too short.
void check_lengths(const fs::path& folder, const std::map<std::string, int64_t>& lengths) {
  for (const auto& [file, length] : lengths) {
    std::error_code code;
    const auto size = fs::file_size(folder / file, code);
    if (code == std::errc::no_such_file_or_directory)
      throw Damage(fmt::format("{} is missing", (folder / file).string()));
    if (code)
      throw SystemError(
          fmt::format("Cannot read the size of {}: {}", (folder / file).string(), code.message()));
    if (static_cast<int64_t>(size) < length)
      throw Damage(
          fmt::format("{} has {} bytes; at least {} were written", (folder / file).string(), size, length));
  }
}

// What went wrong, without the library's own words for it.
std::string reason(const std::exception& error) {
  const auto* const failed = dynamic_cast<const fs::filesystem_error*>(&error);
  if (!failed) return error.what();
  return fmt::format("Cannot read {}: {}", failed->path1().string(), failed->code().message());
}

// Which folder has this path now: the number of its inode, 0 if there is no such folder, 1 if that cannot be
// found out. A save that replaces a checkpoint gives the path another folder.
uint64_t identity(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return static_cast<uint64_t>(status.st_ino);
  return errno == ENOENT ? 0 : 1;
}

// Paths may contain bytes that are not UTF-8.
std::string dump(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

class Store::Masters {
 public:
  struct Master {
    Entry entry;  // without its path, and with no more than the master file says
    std::map<std::string, int64_t> lengths;
  };
  // Throws what read_master throws.
  Master read(const fs::path& folder) {
    const std::lock_guard lock(mutex_);
    const auto version = version_of(folder / "master.h5");
    const auto known = known_.find(folder);
    if (version && known != known_.end() && known->second.first == version) return known->second.second;
    known_.erase(folder);
    const Contents contents = read_master(folder);
    const RunState& state = contents.state;
    const Master master{.entry = {.step = state.step,
                                  .sequence = contents.sequence,
                                  .written = contents.written,
                                  .has_moments = contents.has_moments(),
                                  .kept = contents.kept,
                                  .tokens = state.tokens,
                                  .held_out_loss = state.held_out_loss},
                        .lengths = lengths_of(contents)};
    if (version) known_[folder] = {version, master};
    return master;
  }

 private:
  using Version = std::optional<std::array<int64_t, 5>>;
  // Differs between two files, and from before to after a change of one. Nothing if it cannot be learnt, or if
  // the file is so new that another change could bear the same time.
  static Version version_of(const fs::path& file) {
    struct stat now {};
    constexpr time_t grain = 2;  // seconds, the coarsest of common file systems
    if (::stat(file.c_str(), &now) != 0 || now.st_ctim.tv_sec + grain >= ::time(nullptr)) return {};
    return {{static_cast<int64_t>(now.st_ino), now.st_size, now.st_mtim.tv_sec, now.st_mtim.tv_nsec,
             now.st_ctim.tv_sec * 1'000'000'000 + now.st_ctim.tv_nsec}};
  }

  std::mutex mutex_;  // the threads of a Saver list the folder as well
  std::map<fs::path, std::pair<Version, Master>> known_;
};

Entry Store::describe(const fs::path& path, int64_t step) const {
  Entry entry{.step = step, .path = path};
  try {
    const Masters::Master master = masters_->read(path);
    if (master.entry.step != step)
      throw Damage(fmt::format("{} holds step {}: it was renamed", path.string(), master.entry.step));
    entry = master.entry;
    entry.path = path;
    entry.bytes = folder_bytes(path);
    check_lengths(path, master.lengths);
  } catch (const Damage& error) {
    entry.problem = error.what();
  } catch (const std::exception& error) {
    entry.problem = reason(error);
    entry.unreadable = true;
  }
  return entry;
}

std::string Verdict::summary() const {
  const std::vector<std::string>& faults = damage.empty() ? unreadable : damage;
  std::string text = fmt::format("{}: {}", damage.empty() ? "cannot be read" : "is damaged", faults.front());
  if (const size_t others = damage.size() + unreadable.size() - 1; others > 0)
    text += fmt::format(" (and {} more)", others);
  return text;
}

Store::Store(fs::path folder, const parallel::World& world, Disk disk)
    : folder_(std::move(folder)),
      world_(world),
      disk_(std::move(disk)),
      masters_(std::make_shared<Masters>()) {}

std::vector<Entry> Store::list() const {
  std::vector<Entry> entries;
  std::error_code code, unreadable;
  for (fs::directory_iterator item(folder_, code), end; !code && item != end; item.increment(code))
    if (const auto step = step_of(item->path().filename().string()); step && item->is_directory(unreadable))
      if (Entry entry = describe(item->path(), *step);
          entry.complete() || identity(entry.path) != 0)  // else it was deleted while it was read
        entries.push_back(std::move(entry));
  if (code && code != std::errc::no_such_file_or_directory)
    throw SystemError(fmt::format("Cannot look for checkpoints in {}: {}", folder_.string(), code.message()));
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tuple(a.complete(), a.sequence, a.step) < std::tuple(b.complete(), b.sequence, b.step);
  });
  return entries;
}

std::optional<Entry> Store::latest() const {
  const std::vector<Entry> entries = list();
  if (entries.empty() || !entries.back().complete()) return {};
  return entries.back();
}

Entry Store::find(int64_t step) const {
  const fs::path path = folder_ / folder_name(step);
  std::error_code unreadable;
  if (fs::is_directory(path, unreadable)) return describe(path, step);
  std::vector<int64_t> steps;
  for (const Entry& entry : list()) steps.push_back(entry.step);
  std::sort(steps.begin(), steps.end());
  if (steps.empty())
    throw Error("There is no checkpoint in {}; step {} was asked for.", folder_.string(), step);
  throw Error("There is no checkpoint of step {} in {}. Choose one of these steps: {}.", step,
              folder_.string(), fmt::join(steps, ", "));
}

std::string Store::inspect(const Entry& entry) const {
  const Contents contents = read_master(entry.path);
  const RunState& state = contents.state;
  using common::format_count;
  std::string text = fmt::format(
      "checkpoint    {}\n"
      "state         step {}, {} updates, {} samples, {} tokens\n"
      "written       {:%Y-%m-%d %H:%M:%S} UTC by {} in {}, code {}\n"
      "size          {} in {} arrays of {} elements, {} moments\n"
      "model         {}\n"
      "extra         {}\n\n",
      entry.path.string(), format_count(state.step), format_count(state.updates), format_count(state.samples),
      format_count(state.tokens), fmt::gmtime(static_cast<time_t>(contents.written)),
      common::counted(contents.world_size, "rank"), contents.precision, state.code_version,
      common::format_bytes(static_cast<double>(folder_bytes(entry.path))), contents.arrays.size(),
      format_count(contents.num_elements()), contents.has_moments() ? "with" : "without",
      contents.fingerprint(), state.extra);
  size_t width = 0;
  for (const Array& a : contents.arrays) width = std::max(width, a.name.size());
  for (const Array& a : contents.arrays)
    text += fmt::format("  {:<{}}  {:<9} {}\n", a.name, width, type_name(contents.source_of(a)->type),
                        format_shape(a.shape));
  return text + "\n" + state.recipe;
}

RunState Store::load(const Entry& entry, parallel::ParameterSpace& space,
                     parallel::Communicator& communicator, const LoadOptions& options) const {
  Contents contents;
  const bool moments = options.moments && space.options().training;
  world_.together([&] {
    const uint64_t opened = identity(entry.path);
    try {
      contents = read_master(entry.path);
      check_same_model(contents, space, entry.path.string());
      if (moments && !contents.has_moments())
        throw Error(
            "The checkpoint {} holds weights only, without the optimizer's moments, so no training can "
            "resume from "
            "it. Choose another, or start a new run from its weights (run.init_from).",
            entry.path.string());
      read_into(Reader(entry.path, contents), space, moments);
    } catch (const Damage& error) {
      if (opened == 0 || identity(entry.path) != opened)
        throw Error(
            fmt::format("{} was deleted or replaced while it was read: a run trains in this folder and "
                        "keeps its newest checkpoints only. Run the command again, or name a "
                        "checkpoint that stays (RUN@STEP).",
                        entry.path.string()),
            common::try_again);
      throw SystemError(
          fmt::format("{} Choose another checkpoint; `--resume auto` takes the newest sound one.",
                      common::as_sentence(error.what())));
    }
  });
  space.round_masters();
  space.gather_values(communicator);
  return contents.state;
}

Verdict Store::verify(const Entry& entry) const {
  const uint64_t opened = identity(entry.path);
  Verdict own;
  try {
    const Contents contents = read_master(entry.path);
    const auto examine = [&](const auto& damage_of) {
      try {
        for (std::string& text : damage_of()) own.damage.push_back(std::move(text));
      } catch (const Damage& error) {
        own.damage.push_back(error.what());
      } catch (const std::exception& error) {
        own.unreadable.push_back(reason(error));
      }
    };
    if (world_.is_root()) examine([&] { return damage_of_virtual_datasets(entry.path, contents); });
    for (int file = world_.rank(); file < contents.world_size; file += world_.size())
      examine([&] { return damage_of_rank_file(entry.path, rank_file_name(file), contents); });
  } catch (const Damage& error) {
    own.damage.push_back(error.what());
  } catch (const std::exception& error) {
    own.unreadable.push_back(reason(error));
  }
  const auto take = [](const json& texts, std::vector<std::string>& all) {
    for (const json& text : texts)
      if (std::find(all.begin(), all.end(), text.get<std::string>()) == all.end()) all.push_back(text);
  };
  Verdict verdict;
  for (const std::string& text :
       world_.all_gather(dump({{"damage", own.damage},
                               {"unreadable", own.unreadable},
                               {"gone", opened == 0 || identity(entry.path) != opened}}))) {
    const json found = json::parse(text);
    verdict.gone = verdict.gone || found["gone"].get<bool>();
    take(found["damage"], verdict.damage);
    take(found["unreadable"], verdict.unreadable);
  }
  return verdict;
}

Search Store::latest_sound() const {
  // Each attempt fails only if a run that trains here deletes or replaces a checkpoint within it.
  for (int attempt = 0; attempt < 20; ++attempt)
    if (auto found = search()) return *found;
  throw parallel::SharedError(
      fmt::format("Checkpoints in {} are deleted faster than they can be read: a run that trains there keeps "
                  "too few of them (checkpoint.keep_last). Run the command again later, or name a checkpoint "
                  "that stays (RUN@STEP).",
                  folder_.string()),
      common::try_again);
}

std::optional<Search> Store::search() const {
  // All ranks use the root's list of the folder, because on a network file system they may see different
  // states of it.
  json found = json::array();
  world_.together([&] {
    if (!world_.is_root()) return;
    for (const Entry& e : list())
      if (!e.complete() || e.has_moments)
        found.push_back({{"step", e.step}, {"problem", e.problem}, {"unreadable", e.unreadable}});
  });
  std::string text = dump(found);
  world_.broadcast(text);
  found = json::parse(text);

  struct Faulty {
    int64_t step;
    std::string sentence;
    bool unreadable;
  };
  std::vector<Faulty> faulty;
  std::optional<Entry> sound;
  for (auto item = found.rbegin(); item != found.rend(); ++item) {
    const int64_t step = item->at("step");
    const fs::path path = folder_ / folder_name(step);
    Verdict verdict;
    if (const std::string problem = item->at("problem"); !problem.empty())
      (item->at("unreadable") ? verdict.unreadable : verdict.damage) = {problem};
    else if (!sound)
      verdict = verify(Entry{.step = step, .path = path});
    else
      continue;
    if (verdict.gone) return {};
    if (verdict.sound())
      sound = describe(path, step);
    else
      faulty.push_back(
          {step, fmt::format("{} {}", path.filename().string(), verdict.summary()), verdict.damage.empty()});
  }
  Search result{.sound = sound};
  for (auto& [step, sentence, unreadable] : faulty)
    if (!sound || step > sound->step)
      (unreadable ? result.unreadable : result.damaged).push_back(std::move(sentence));
  return result;
}

}  // namespace sisa::checkpoint
