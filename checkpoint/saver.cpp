#include "checkpoint/saver.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <system_error>
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
bool is_ready(const std::future<Result>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace

Saver::Saver(const Store& store) : store_(store) {}
Saver::~Saver() = default;  // futures of std::async wait for their threads

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

  or_abandon([&] {
    world.together([&] {
      if (world.is_root()) prepare(needed);
    });
    world.together([&] { snapshot_.take(space, std::move(slices)); });
  });
  save_->written = std::async(std::launch::async, [this, rank = world.rank()] {
    return write_rank_file(save_->temporary, rank, snapshot_, store_.disk());
  });
  save_->seconds_blocked = seconds_since(save_->started);
}

std::optional<SaveReport> Saver::poll() {
  TORCH_INTERNAL_ASSERT(running());
  const World& world = store_.world();
  const auto start = Clock::now();
  std::optional<SaveReport> report;
  or_abandon([&] {
    if (!save_->publishing) {
      if (!everywhere(is_ready(save_->written))) return;
      std::vector<StoredSlice> own;
      world.together([&] { own = save_->written.get(); });
      const std::vector<std::string> all = world.all_gather(to_json(own));
      save_->publishing = true;
      if (!world.is_root()) return;
      for (const std::string& text : all)
        for (StoredSlice& source : sources_from_json(text))
          save_->contents.sources.push_back(std::move(source));
      save_->published = std::async(std::launch::async, [this] { return publish(); });
    } else if (everywhere(!world.is_root() || is_ready(save_->published))) {
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
      report = {.step = save_->contents.state.step,
                .moments = published["moments"],
                .bytes = published["bytes"],
                .seconds = published["seconds"],
                .remarks = published["remarks"]};
    }
  });
  save_->seconds_blocked += seconds_since(start);
  if (report) {
    world.all_reduce({&save_->seconds_blocked, 1}, World::Reduction::max);
    report->seconds_blocked = save_->seconds_blocked;
    save_.reset();
  }
  return report;
}

SaveReport Saver::finish() {
  while (true) {
    if (save_->written.valid()) save_->written.wait();
    if (save_->published.valid()) save_->published.wait();
    if (const auto report = poll()) return *report;
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
  delete_leftovers(folder, store_.disk(), save_->remarks);
  const auto available = store_.disk().available(folder);
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

Saver::Published Saver::publish() const {
  const fs::path &temporary = save_->temporary, &target = save_->target;
  const auto before = store_.latest();
  Contents contents = save_->contents;
  contents.sequence = before ? before->sequence + 1 : 1;
  contents.written = seconds_since_1970();
  write_master(temporary, contents, store_.disk());
  common::sync_file(temporary);
  publish_folder(temporary, target);

  Published result{
      .moments = contents.has_moments(), .seconds = seconds_since(save_->started), .remarks = save_->remarks};
  try {
    result.bytes = folder_bytes(target);
    if (fs::exists(fs::symlink_status(temporary)))
      delete_folder(temporary, store_.disk(), result.remarks);  // the checkpoint that was replaced
    for (const Entry& entry : superfluous(store_.list(), save_->retention))
      if (entry.path != target) delete_folder(entry.path, store_.disk(), result.remarks);
    if (contents.has_moments())
      common::write_file_atomically(store_.folder() / "latest", target.filename().string() + "\n");
  } catch (const std::exception& error) {
    result.remarks.push_back(error.what());
  }
  return result;
}

template <typename Phase>
void Saver::or_abandon(const Phase& phase) {
  try {
    phase();
  } catch (const Error& error) {
    std::error_code ignored;
    if (store_.world().is_root()) fs::remove_all(save_->temporary, ignored);
    const int64_t step = save_->contents.state.step;
    save_.reset();
    throw Error(
        fmt::format("The checkpoint of step {} was not saved. {} Earlier checkpoints in {} are as they were.",
                    step, common::as_sentence(error.what()), store_.folder().string()),
        error.status());
  }
}

bool Saver::everywhere(bool ready) const {
  int64_t answer = ready;
  store_.world().all_reduce({&answer, 1}, World::Reduction::min);
  return answer != 0;
}

}  // namespace sisa::checkpoint
