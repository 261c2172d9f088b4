#include "checkpoint/store.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <tuple>
#include <utility>

#include "checkpoint/master_file.h"
#include "checkpoint/rank_file.h"
#include "common/error.h"
#include "common/file.h"
#include "common/quantity.h"

namespace sisa::checkpoint {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

// Part of the name of all that a killed run may leave: also common::write_file_atomically's.
constexpr std::string_view temporary_mark = ".tmp-";

std::string folder_name(int64_t step) {
  return fmt::format("step-{}", step);
}

// 500 for "step-500"; nothing for any other name.
std::optional<int64_t> step_of(const std::string& name) {
  int64_t step = 0;
  const char* const begin = name.data() + std::min<size_t>(5, name.size());
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size() || name != folder_name(step)) return {};
  return step;
}

int64_t folder_bytes(const fs::path& folder) {
  int64_t bytes = 0;
  for (const auto& file : fs::directory_iterator(folder))
    if (file.is_regular_file()) bytes += static_cast<int64_t>(file.file_size());
  return bytes;
}

// Throws SystemError if a file is missing or shorter than the index says.
void check_lengths(const fs::path& folder, const Contents& contents) {
  std::map<std::string, int64_t> lengths;
  for (int rank = 0; rank < contents.world_size; ++rank) lengths[rank_file_name(rank)] = 1;
  for (const Source& s : contents.sources) lengths[s.file] = std::max(lengths[s.file], s.offset + s.bytes());
  for (const auto& [file, length] : lengths) {
    std::error_code code;
    const auto size = fs::file_size(folder / file, code);
    if (code) throw SystemError(fmt::format("{} is missing ({})", (folder / file).string(), code.message()));
    if (static_cast<int64_t>(size) < length)
      throw SystemError(
          fmt::format("{} has {} bytes; at least {} were written", (folder / file).string(), size, length));
  }
}

Entry describe(const fs::path& path, int64_t step) {
  Entry entry{.step = step, .path = path};
  try {
    const Contents contents = read_master(path);
    entry.sequence = contents.sequence;
    entry.written = contents.written;
    entry.has_moments = contents.has_moments();
    entry.bytes = folder_bytes(path);
    check_lengths(path, contents);
  } catch (const std::exception& error) {
    entry.problem = error.what();
  }
  return entry;
}

// "step-500 is damaged: …".
std::string summary(const fs::path& path, const std::vector<std::string>& damage) {
  std::string text = fmt::format("{} is damaged: {}", path.filename().string(), damage.front());
  if (damage.size() > 1) text += fmt::format(" (and {} more findings)", damage.size() - 1);
  return text;
}

// The error's text, ended by a full stop.
std::string sentence(const std::exception& error) {
  std::string text = error.what();
  return text.ends_with('.') ? text : text + '.';
}

// Paths may hold bytes that are no UTF-8.
std::string dump(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

Store::Store(fs::path folder, const parallel::World& world, Disk disk)
    : folder_(std::move(folder)), world_(world), disk_(std::move(disk)) {}

std::vector<Entry> Store::list() const {
  std::vector<Entry> entries;
  std::error_code code;
  for (const auto& item : fs::directory_iterator(folder_, code))
    if (const auto step = step_of(item.path().filename().string()); step && item.is_directory())
      entries.push_back(describe(item.path(), *step));
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
  if (fs::is_directory(path)) return describe(path, step);
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
      "written       {:%Y-%m-%d %H:%M:%S} UTC by {} rank{} in {}, code {}\n"
      "size          {} in {} arrays of {} elements, {} moments\n"
      "model         {}\n"
      "extra         {}\n\n",
      entry.path.string(), format_count(state.step), format_count(state.updates), format_count(state.samples),
      format_count(state.tokens), fmt::gmtime(static_cast<time_t>(contents.written)), contents.world_size,
      contents.world_size == 1 ? "" : "s", contents.precision, state.code_version,
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

SaveReport Store::save(const RunState& state, const parallel::ParameterSpace& space,
                       const SaveOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Slice> slices =
      slices_to_save(space, world_.rank(), world_.size(), options.moments && space.options().training);
  int64_t needed = rank_file_bytes(space, slices);
  world_.all_reduce({&needed, 1}, parallel::World::Reduction::sum);
  // The root's process number keeps a straggler of a killed run from writing here too.
  std::string name = fmt::format("{}{}{}", folder_name(state.step), temporary_mark, ::getpid());
  world_.broadcast(name);
  const fs::path temporary = folder_ / name, target = folder_ / folder_name(state.step);

  std::vector<std::string> remarks;
  try {
    world_.together([&] {
      if (world_.is_root()) prepare(temporary, needed, remarks);
    });
    std::vector<Source> own;
    world_.together(
        [&] { own = write_rank_file(temporary, world_.rank(), space, slices, fetch_from(space), disk_); });
    const std::vector<std::string> all = world_.all_gather(to_json(own));
    world_.together([&] {
      if (!world_.is_root()) return;
      const auto before = latest();
      Contents contents{.state = state,
                        .world_size = world_.size(),
                        .precision = std::string(precision_name(space.options().precision)),
                        .sequence = before ? before->sequence + 1 : 1,
                        .written = seconds_since_1970(),
                        .arrays = arrays_of(space),
                        .sources = {}};
      for (const std::string& text : all)
        for (Source& source : sources_from_json(text)) contents.sources.push_back(std::move(source));
      write_master(temporary, contents, disk_);
      common::sync_file(temporary);
      publish_folder(temporary, target);
    });
  } catch (const Error& error) {
    std::error_code ignored;
    if (world_.is_root()) fs::remove_all(temporary, ignored);
    throw Error(
        fmt::format("The checkpoint of step {} was not saved. {} Earlier checkpoints in {} are as they were.",
                    state.step, sentence(error), folder_.string()),
        error.status());
  }

  json report;
  if (world_.is_root()) {
    try {
      report["bytes"] = folder_bytes(target);
      if (fs::exists(temporary)) delete_folder(temporary, remarks);  // the one that was replaced
      if (options.keep_last > 0) delete_old(target, options.keep_last, remarks);
      common::write_file_atomically(folder_ / "latest", folder_name(state.step) + "\n");
    } catch (const std::exception& error) {
      remarks.push_back(error.what());
    }
    report["remarks"] = remarks;
  }
  std::string text = dump(report);
  world_.broadcast(text);
  report = json::parse(text);
  return {.bytes = report.value("bytes", int64_t{0}),
          .seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          .remarks = report["remarks"]};
}

void Store::prepare(const fs::path& temporary, int64_t bytes, std::vector<std::string>& remarks) const {
  common::create_directories(folder_);
  std::vector<fs::path> leftovers;
  for (const auto& item : fs::directory_iterator(folder_)) {
    const std::string name = item.path().filename().string();
    if ((name.starts_with("step-") || name.starts_with("latest")) &&
        name.find(temporary_mark) != std::string::npos)
      leftovers.push_back(item.path());
  }
  for (const fs::path& path : leftovers) delete_folder(path, remarks);

  const auto available = disk_.available(folder_);
  if (static_cast<uintmax_t>(bytes) > available)
    throw SystemError(
        fmt::format("It needs {}, and {} has {} left. Free some space there, or keep fewer checkpoints "
                    "(checkpoint.keep_last)",
                    common::format_bytes(static_cast<double>(bytes)), folder_.string(),
                    common::format_bytes(static_cast<double>(available))));
  std::error_code code;
  if (!fs::create_directory(temporary, code))
    throw Error("Cannot create the folder {}: {}", temporary.string(), code.message());
}

void Store::delete_folder(const fs::path& path, std::vector<std::string>& remarks) const {
  try {
    // Half-deleted it must not be taken for a checkpoint.
    fs::path doomed = path;
    if (step_of(path.filename().string())) {
      doomed += fmt::format("{}{}-deleted", temporary_mark, ::getpid());
      fs::rename(path, doomed);
    }
    disk_.remove(doomed);
  } catch (const fs::filesystem_error& error) {
    remarks.push_back(fmt::format("Could not delete {}: {}", path.string(), error.code().message()));
  }
}

void Store::delete_old(const fs::path& newest, int64_t keep_last, std::vector<std::string>& remarks) const {
  std::vector<Entry> others = list();
  std::erase_if(others, [&](const Entry& e) { return !e.complete() || e.path == newest; });
  for (size_t i = 0; i + static_cast<size_t>(keep_last) < others.size() + 1; ++i)
    delete_folder(others[i].path, remarks);
}

RunState Store::load(const Entry& entry, parallel::ParameterSpace& space,
                     parallel::Communicator& communicator, const LoadOptions& options) const {
  Contents contents;
  const bool moments = options.moments && space.options().training;
  world_.together([&] {
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
    } catch (const SystemError& error) {
      throw SystemError(fmt::format(
          "{} Choose another checkpoint; `--resume auto` takes the newest sound one.", sentence(error)));
    }
  });
  space.round_masters();
  space.gather_values(communicator);
  return contents.state;
}

std::vector<std::string> Store::verify(const Entry& entry) const {
  std::vector<std::string> damage;
  try {
    const Contents contents = read_master(entry.path);
    if (world_.is_root()) damage = damage_of_virtual_datasets(entry.path, contents);
    for (int file = world_.rank(); file < contents.world_size; file += world_.size())
      for (std::string& text : damage_of_rank_file(entry.path, rank_file_name(file), contents))
        damage.push_back(std::move(text));
  } catch (const std::exception& error) {
    damage.push_back(error.what());
  }
  std::vector<std::string> all;
  for (const std::string& texts : world_.all_gather(dump(damage)))
    for (const json& text : json::parse(texts))
      if (std::find(all.begin(), all.end(), text.get<std::string>()) == all.end()) all.push_back(text);
  return all;
}

std::optional<Entry> Store::latest_sound(std::vector<std::string>* skipped) const {
  // The root's view of the folder counts: over a network ranks may see it at different times.
  json found = json::array();
  if (world_.is_root())
    for (const Entry& e : list()) found.push_back({e.step, e.problem});
  std::string text = dump(found);
  world_.broadcast(text);
  found = json::parse(text);

  std::vector<std::pair<int64_t, std::string>> damaged;  // step, sentence
  std::optional<Entry> sound;
  for (auto item = found.rbegin(); item != found.rend(); ++item) {
    const int64_t step = item->at(0);
    const fs::path path = folder_ / folder_name(step);
    std::vector<std::string> damage;
    if (const std::string problem = item->at(1); !problem.empty())
      damage = {problem};
    else if (!sound)
      damage = verify(Entry{.step = step, .path = path});
    else
      continue;
    if (damage.empty())
      sound = describe(path, step);
    else
      damaged.emplace_back(step, summary(path, damage));
  }
  if (skipped)
    for (auto& [step, sentence] : damaged)
      if (!sound || step > sound->step) skipped->push_back(std::move(sentence));
  return sound;
}

}  // namespace sisa::checkpoint
