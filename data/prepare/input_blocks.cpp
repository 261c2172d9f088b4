#include "data/prepare/input_blocks.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <numeric>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "data/tokens/manifest.h"

namespace sisa::data {
namespace {

constexpr int64_t packing = 4;  // an estimate of the decompressed bytes per compressed byte
constexpr size_t streams_a_team = 4;

Input look_at(const std::filesystem::path& path, int64_t block_bytes) {
  if (path == "-") return {.path = path, .regular = false};
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    throw Error("Cannot read {}: {}.", path.string(),
                errno == ENOENT ? "no such file" : std::strerror(errno));
  if (S_ISDIR(status.st_mode))
    throw Error("{} is a folder; name the texts in it, such as {}/*.txt.", path.string(), path.string());
  if (!S_ISREG(status.st_mode)) return {.path = path, .regular = false};
  Input input = {
      .path = path,
      .bytes = status.st_size,
      .time = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec,
      .stamp = fmt::format("{} {}.{} ", status.st_ino, status.st_ctim.tv_sec, status.st_ctim.tv_nsec)};
  if (packing * input.bytes > block_bytes) {
    LineStream stream(open_stream(path));
    input.lines = stream.holds_lines(path);
    input.packed = stream.packed();
  }
  return input;
}

struct Team {
  int member, members;
};

// Which of the compressed streams, given as indices of `units`, `part` works on, each with the part's place
// in the team that shares it.
std::vector<std::pair<size_t, Team>> deal(std::vector<size_t> streams, const std::vector<Unit>& units,
                                          int part, int num_parts) {
  const int teams = std::clamp(static_cast<int>(streams.size() / streams_a_team), 1, num_parts);
  const auto members = [&](int team) { return (num_parts - team + teams - 1) / teams; };
  // The largest stream first, each to the team with the fewest bytes per member.
  std::stable_sort(streams.begin(), streams.end(),
                   [&](size_t a, size_t b) { return units[a].bytes > units[b].bytes; });
  std::vector<double> load(static_cast<size_t>(teams));
  std::vector<std::pair<size_t, Team>> own;
  for (const size_t unit : streams) {
    const auto least = std::min_element(load.begin(), load.end());
    const auto team = static_cast<int>(least - load.begin());
    *least += static_cast<double>(units[unit].bytes) / members(team);
    if (team == part % teams) own.push_back({unit, {part / teams, members(team)}});
  }
  return own;
}

}  // namespace

std::vector<Input> look_at(const std::vector<std::filesystem::path>& paths, int64_t block_bytes) {
  if (std::count(paths.begin(), paths.end(), "-") > 1)
    throw Error("Standard input (-) is named twice, but can be read once only.");
  std::vector<Input> inputs;
  for (const auto& path : paths) inputs.push_back(look_at(path, block_bytes));
  return inputs;
}

std::vector<std::filesystem::path> texts_in(const std::filesystem::path& path) {
  std::error_code code;
  if (!std::filesystem::is_directory(path, code)) return {path};
  if (is_dataset(path))
    throw Error("{} holds tokens and no text. Name the texts that they were made of.", path.string());
  std::vector<std::filesystem::path> texts;
  const auto hidden = [](const auto& entry) { return entry.path().filename().string().starts_with('.'); };
  std::filesystem::recursive_directory_iterator entry(path, code), end;
  for (; !code && entry != end; entry.increment(code)) {
    if (hidden(*entry))
      entry.disable_recursion_pending();
    else if (std::filesystem::is_regular_file(entry->path(), code))
      texts.push_back(entry->path());
  }
  if (code) throw Error("The folder {} cannot be read: {}.", path.string(), code.message());
  if (texts.empty()) throw Error("The folder {} holds no text.", path.string());
  std::sort(texts.begin(), texts.end());
  return texts;
}

std::vector<Unit> list_units(const std::vector<Input>& inputs, int64_t block_bytes) {
  std::vector<Unit> units;
  int64_t room = 0;  // how many bytes the last unit may still take
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int64_t bytes = inputs[i].bytes;
    const bool packed = inputs[i].packed;
    const int64_t unpacked = packed ? packing * bytes : bytes;
    const bool large_lines = inputs[i].lines && unpacked > block_bytes;
    if (!inputs[i].regular || (large_lines && packed)) {
      units.push_back({.kind = Unit::Kind::stream, .first = i, .last = i + 1, .bytes = bytes});
    } else if (large_lines) {
      for (int64_t begin = 0; begin < bytes; begin += block_bytes) {
        const int64_t end = std::min(begin + block_bytes, bytes);
        units.push_back({Unit::Kind::range, i, i + 1, begin, end, end - begin});
      }
    } else if (room > 0) {
      units.back().last = i + 1;
      units.back().bytes += bytes;
      room -= unpacked;
      continue;
    } else {
      units.push_back({.kind = Unit::Kind::files, .first = i, .last = i + 1, .bytes = bytes});
      room = block_bytes - unpacked;
      continue;
    }
    room = 0;
  }
  return units;
}

BlockSource::BlockSource(const std::vector<Input>& inputs, const std::vector<Unit>& units,
                         int64_t block_bytes, int part, int num_parts,
                         const std::function<bool(size_t unit)>& done)
    : inputs_(inputs), units_(units), block_bytes_(block_bytes) {
  std::vector<size_t> packed;
  std::vector<std::pair<size_t, Team>> own;
  int64_t singles = 0;
  for (size_t unit = 0; unit < units.size(); ++unit) {
    if (units[unit].kind != Unit::Kind::stream) {
      if (singles++ % num_parts == part) own.push_back({unit, {0, 1}});
    } else if (inputs[units[unit].first].regular) {
      packed.push_back(unit);
    } else if (part == 0) {
      own.push_back({unit, {0, 1}});
    }
  }
  const auto streams = deal(packed, units, part, num_parts);
  own.insert(own.end(), streams.begin(), streams.end());
  std::sort(own.begin(), own.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  // Finished units are left out only now: processes that start at different times see different ones, and the
  // assignment above must be the same for all.
  for (const auto& [unit, team] : own)
    if (!done(unit)) waiting_.push_back({unit, team.member, team.members, nullptr});
}

bool BlockSource::next(InputBlock& block) {
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    const auto idle = std::find_if(open_.begin(), open_.end(), [](const Stream& s) { return !s.busy; });
    if (idle != open_.end()) {
      idle->busy = true;
      lock.unlock();
      bool ours = false;
      try {
        ours = read(*idle, block);
      } catch (...) {
        stop();
        throw;
      }
      lock.lock();
      idle->busy = false;
      if (block.last) open_.erase(idle);
      changed_.notify_all();
      if (ours) return true;
    } else if (!waiting_.empty()) {
      Stream stream = std::move(waiting_.front());
      waiting_.pop_front();
      if (units_[stream.unit].kind == Unit::Kind::stream) {
        open_.push_back(std::move(stream));
      } else {
        block = {.unit = stream.unit, .input_bytes = units_[stream.unit].bytes};
        return true;
      }
    } else if (open_.empty()) {
      return false;
    } else {
      changed_.wait(lock);
    }
  }
  return false;
}

void BlockSource::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

void BlockSource::open(Stream& stream) const {
  const Input& input = inputs_[units_[stream.unit].first];
  stream.stream = std::make_unique<LineStream>(open_stream(input.path));
  stream.lines = stream.stream->holds_lines(input.path);
}

bool BlockSource::read(Stream& stream, InputBlock& block) const {
  block.unit = stream.unit;
  block.number = stream.next_block;
  if (!stream.stream) open(stream);
  do {
    const int64_t number = stream.next_block++;
    block.number = number;
    block.lines = stream.lines;
    block.lines_before = stream.lines_before;
    block.text.clear();
    stream.stream->take(stream.lines ? (number + 1) * block_bytes_ : std::numeric_limits<int64_t>::max(),
                        block.text);
    if (!inputs_[units_[stream.unit].first].regular)
      stream.lines_before += std::count(block.text.begin(), block.text.end(), '\n');
    block.last = stream.stream->at_end();
    block.input_bytes = stream.stream->consumed() - std::exchange(stream.consumed, stream.stream->consumed());
    if (number % stream.members == stream.member) return true;
  } while (!block.last);
  return false;
}

int64_t read_block(const std::vector<Input>& inputs, const Unit& unit, const InputBlock& block,
                   const BlockVisitor& visitor) {
  const auto of = [&](size_t input) -> DocumentVisitor {
    return {.document = [&visitor, input](std::string_view text) { visitor.document(input, text); },
            .bad = [&visitor, input](int64_t line, const std::string& reason,
                                     std::string_view advice) { visitor.bad(input, line, reason, advice); },
            .mark = visitor.mark};
  };
  switch (unit.kind) {
    case Unit::Kind::files:
      for (size_t input = unit.first; input < unit.last; ++input) read_file(inputs[input].path, of(input));
      return 0;
    case Unit::Kind::range: {
      const int64_t before = std::max<int64_t>(0, unit.begin - 1);
      LineStream stream(open_stream(inputs[unit.first].path, before), before);
      std::string lines;
      stream.take(unit.begin, lines);  // the rest of a line that begins before the range
      lines.clear();
      stream.take(unit.end, lines);
      return read_lines(lines, of(unit.first));
    }
    case Unit::Kind::stream:
      if (block.lines) return read_lines(block.text, of(unit.first));
      read_text(block.text, of(unit.first));
      return 0;
  }
  return 0;
}

int64_t lines_before(const std::vector<Input>& inputs, const Unit& unit, const InputBlock& block,
                     int64_t block_bytes) {
  if (unit.kind == Unit::Kind::files) return 0;
  if (!inputs[unit.first].regular) return block.lines_before;
  const int64_t begin = unit.kind == Unit::Kind::range ? unit.begin : block.number * block_bytes;
  LineStream stream(open_stream(inputs[unit.first].path));
  int64_t count = 0;
  std::string lines;
  for (int64_t end = 0; end < begin; lines.clear()) {
    end = std::min(end + block_bytes, begin);
    stream.take(end, lines);
    count += std::count(lines.begin(), lines.end(), '\n');
  }
  return count;
}

}  // namespace sisa::data
