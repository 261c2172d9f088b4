#include "checkpoint/saver.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <system_error>
#include <thread>
#include <utility>

#include "checkpoint/folders.h"
#include "checkpoint/master_file.h"
#include "common/error.h"
#include "common/file.h"
#include "common/precision_names.h"
#include "common/quantity.h"
#include "common/text.h"

namespace sisa::checkpoint {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;
using parallel::World;

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <typename Result>
bool is_ready(const std::future<Result>& future, std::chrono::milliseconds patience = {}) {
  return !future.valid() || future.wait_for(patience) == std::future_status::ready;
}

using Heard = std::shared_ptr<std::atomic<std::chrono::steady_clock::rep>>;

void note_now(const Heard& heard) {
  heard->store(std::chrono::steady_clock::now().time_since_epoch().count());
}

// `call`, which also tells `heard` when it begins and when it has returned.
template <typename Result, typename... Arguments>
std::function<Result(Arguments...)> noted(std::function<Result(Arguments...)> call, const Heard& heard) {
  return [call = std::move(call), heard](Arguments... arguments) -> Result {
    struct Note {
      explicit Note(const Heard& to) : told(to) { note_now(told); }
      ~Note() { note_now(told); }
      const Heard& told;
    } const note(heard);
    return call(arguments...);
  };
}

Disk noted(Disk disk, const Heard& heard) {
  // A short write is gone on with.
  disk.write = [write = std::move(disk.write)](int file, const void* data, size_t size, off_t offset) {
    return write(file, data, std::min<size_t>(size, 16 << 20), offset);
  };
  return {noted(std::move(disk.write), heard), noted(std::move(disk.sync), heard),
          noted(std::move(disk.available), heard), noted(std::move(disk.remove), heard)};
}

}  // namespace

Saver::Saver(const Store& store)
    : store_(store),
      heard_(std::make_shared<std::atomic<Clock::rep>>()),
      disk_(noted(store.disk(), heard_)) {}

Saver::~Saver() = default;  // futures of std::async wait for their threads

int64_t Saver::step() const {
  return save_->contents.state.step;
}

bool Saver::Save::ready() const {
  return is_ready(prepared) && is_ready(written) && is_ready(published);
}

void Saver::start(const RunState& state, const parallel::ParameterSpace& space, const SaveOptions& options) {
  TORCH_INTERNAL_ASSERT(!running(), "one save at a time");
  const World& world = store_.world();
  save_ = std::make_unique<Save>();
  save_->contents = {.state = state,
                     .world_size = world.size(),
                     .precision = std::string(common::precision_name(space.options().precision)),
                     .kept = options.keep,
                     .arrays = arrays_of(space),
                     .sources = {}};
  save_->retention = options.retention;
  std::vector<Slice> slices =
      slices_to_save(space, world.rank(), world.size(), options.moments && space.options().training);
  int64_t needed = rank_file_bytes(space, slices);
  world.all_reduce({&needed, 1}, World::Reduction::sum);
  // The number of the root's process in the name keeps a surviving process of a killed run from writing here,
  // too.
  std::string name = temporary_name(folder_name(state.step));
  world.broadcast(name);
  save_->temporary = store_.folder() / name;
  save_->target = store_.folder() / folder_name(state.step);

  or_abandon([&] { world.together([&] { snapshot_.take(space, std::move(slices)); }); });
  note_now(heard_);
  if (world.is_root()) {
    save_->prepared = std::async(std::launch::async, [this, needed] { prepare(needed); });
    // On a healthy disk it is a matter of a moment, and the writing need not wait for the next poll.
    is_ready(save_->prepared, std::chrono::milliseconds(100));
  }
  save_->seconds_blocked = seconds_since(save_->started);
  poll();
}

void Saver::add_held_out_loss(int64_t step, double nats_per_token, const Retention& retention) {
  TORCH_INTERNAL_ASSERT(!running(), "one save at a time");
  save_ = std::make_unique<Save>();
  save_->amends = true;
  save_->contents.state.step = step;
  save_->contents.state.held_out_loss = nats_per_token;
  save_->retention = retention;
  save_->target = store_.folder() / folder_name(step);
  save_->phase = Phase::publishing;
  note_now(heard_);
  if (store_.world().is_root()) save_->published = std::async(std::launch::async, [this] { return amend(); });
}

std::optional<SaveReport> Saver::poll() {
  TORCH_INTERNAL_ASSERT(running());
  const auto start = Clock::now();
  std::optional<SaveReport> report;
  or_abandon([&] {
    if (everywhere_ready()) report = next_phase();
  });
  save_->seconds_blocked += seconds_since(start);
  if (report) {
    store_.world().all_reduce({&save_->seconds_blocked, 1}, World::Reduction::max);
    report->seconds_blocked = save_->seconds_blocked;
    save_.reset();
  }
  return report;
}

// What follows when all ranks are done with a phase; after the last one the report.
std::optional<SaveReport> Saver::next_phase() {
  const World& world = store_.world();
  note_now(heard_);
  switch (save_->phase) {
    case Phase::preparing:
      world.together([&] {
        if (world.is_root()) save_->prepared.get();
      });
      save_->phase = Phase::writing;
      save_->written = std::async(std::launch::async, [this, rank = world.rank()] {
        return write_rank_file(save_->temporary, rank, snapshot_, disk_);
      });
      return {};
    case Phase::writing: {
      std::vector<StoredSlice> own;
      world.together([&] { own = save_->written.get(); });
      const std::vector<std::string> all = world.all_gather(to_json(own));
      save_->phase = Phase::publishing;
      if (!world.is_root()) return {};
      for (const std::string& text : all)
        for (StoredSlice& source : sources_from_json(text))
          save_->contents.sources.push_back(std::move(source));
      save_->published = std::async(std::launch::async, [this] { return publish(); });
      return {};
    }
    case Phase::publishing:
      break;
  }
  json published;
  world.together([&] {
    if (!world.is_root()) return;
    const Published result = save_->published.get();
    published = {{"bytes", result.bytes},
                 {"seconds", result.seconds},
                 {"moments", result.moments},
                 {"remarks", result.remarks}};
  });
  // Paths may contain bytes that are not UTF-8.
  std::string text = published.dump(-1, ' ', false, json::error_handler_t::replace);
  world.broadcast(text);
  published = json::parse(text);
  return SaveReport{.step = step(),
                    .amends = save_->amends,
                    .moments = published["moments"],
                    .bytes = published["bytes"],
                    .seconds = published["seconds"],
                    .remarks = published["remarks"]};
}

SaveReport Saver::finish(const std::function<void()>& while_waiting) {
  while (true) {
    if (const auto report = poll()) return *report;
    while_waiting();
    constexpr std::chrono::milliseconds moment(5);
    if (save_->ready()) {
      std::this_thread::sleep_for(moment);  // others are not; meanwhile the processor is theirs
    } else {
      is_ready(save_->prepared, moment);
      is_ready(save_->written, moment);
      is_ready(save_->published, moment);
    }
  }
}

SaveReport Saver::save(const RunState& state, const parallel::ParameterSpace& space,
                       const SaveOptions& options) {
  start(state, space, options);
  return finish();
}

void Saver::prepare(int64_t bytes) {
  const fs::path& folder = store_.folder();
  common::create_directories(folder);
  delete_leftovers(folder, disk_, save_->remarks);
  const auto available = disk_.available(folder);
  if (static_cast<uintmax_t>(bytes) > available)
    throw SystemError(
        fmt::format("It needs {}, and {} has {} left. Free some space there, or keep fewer checkpoints "
                    "(checkpoint.keep_last)",
                    common::format_bytes(static_cast<double>(bytes)), folder.string(),
                    common::format_bytes(static_cast<double>(available))));
  std::error_code code;
  if (!fs::create_directory(save_->temporary, code))
    throw Error("Cannot create the folder {}: {}", save_->temporary.string(),
                code ? code.message() : "it is there already and could not be deleted");
}

Saver::Published Saver::publish() {
  const fs::path &temporary = save_->temporary, &target = save_->target;
  Contents contents = save_->contents;
  for (const Entry& entry : store_.list()) {
    last_sequence_ = std::max(last_sequence_, entry.sequence);
    contents.kept |= entry.kept && entry.path == target;  // what was to stay for ever stays if it is replaced
  }
  contents.sequence = ++last_sequence_;
  contents.written = seconds_since_1970();
  write_master(temporary, contents, disk_);
  common::sync_file(temporary);
  publish_folder(temporary, target);

  Published result{
      .moments = contents.has_moments(), .seconds = seconds_since(save_->started), .remarks = save_->remarks};
  try {
    result.bytes = folder_bytes(target);
    if (fs::exists(fs::symlink_status(temporary)))
      delete_folder(temporary, disk_, result.remarks);  // the checkpoint that was replaced
    delete_superfluous(result.remarks);
    if (contents.has_moments())
      common::write_file_atomically(store_.folder() / "latest", target.filename().string() + "\n");
  } catch (const std::exception& error) {
    result.remarks.push_back(error.what());
  }
  return result;
}

Saver::Published Saver::amend() {
  Published result;
  try {
    Contents contents = read_master(save_->target);
    contents.state.held_out_loss = save_->contents.state.held_out_loss;
    replace_master(save_->target, contents, disk_);
    delete_superfluous(result.remarks);
  } catch (const std::exception& error) {
    result.remarks.push_back(
        fmt::format("The held-out loss of step {} is not in its checkpoint. {}", step(), error.what()));
  }
  return result;
}

void Saver::delete_superfluous(std::vector<std::string>& remarks) const {
  for (const Entry& entry : superfluous(store_.list(), save_->retention))
    if (entry.path != save_->target) delete_folder(entry.path, disk_, remarks);
}

template <typename Work>
void Saver::or_abandon(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    std::error_code ignored;
    if (store_.world().is_root()) fs::remove_all(save_->temporary, ignored);
    const int64_t failed = step();
    save_.reset();
    seconds_stalled_ = 0;
    throw Error(
        fmt::format("The checkpoint of step {} was not saved. {} Earlier checkpoints in {} are as they were.",
                    failed, common::as_sentence(error.what()), store_.folder().string()),
        error.status());
  }
}

bool Saver::everywhere_ready() {
  const bool ready = save_->ready();
  const auto silence = Clock::now().time_since_epoch() - Clock::duration(heard_->load());
  double answers[] = {ready ? 0. : 1., ready ? 0. : std::chrono::duration<double>(silence).count()};
  store_.world().all_reduce(answers, World::Reduction::max);
  seconds_stalled_ = answers[1];
  return answers[0] == 0;
}

}  // namespace sisa::checkpoint
