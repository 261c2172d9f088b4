#include "launcher/run/agreement.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "common/text.h"
#include "launcher/recipe/keys.h"
#include "launcher/run/version.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
using parallel::World;
using Clock = std::chrono::steady_clock;

constexpr char separator = '\0';

std::string joined(const Facts& facts) {
  std::string text;
  for (const auto& [name, value] : facts)
    text.append(name).append(1, separator).append(value).append(1, separator);
  return text;
}

Facts separated(std::string_view text) {
  const std::vector<std::string> parts = common::split(text, separator);
  Facts facts;
  for (size_t i = 0; i + 1 < parts.size(); i += 2) facts.push_back({parts[i], parts[i + 1]});
  return facts;
}

bool equal_everywhere(const World& world, const std::string& text) {
  const auto hash = static_cast<int64_t>(common::hash64(text));
  std::array<int64_t, 2> largest = {hash, ~hash};  // the complement of the second is the smallest hash
  world.all_reduce(largest, World::Reduction::max);
  return largest[0] == ~largest[1];
}

// "train.batch is 256 tokens on rank 1 and 128 tokens on rank 0; …"
std::string differences(const Facts& here, const Facts& there, size_t rank) {
  constexpr size_t most = 6;
  const auto value = [](const Facts& facts, const std::string& name) {
    const auto found =
        std::find_if(facts.begin(), facts.end(), [&](const Fact& fact) { return fact.name == name; });
    return found == facts.end() || found->value.empty() ? "not given" : found->value;
  };
  std::vector<std::string> texts;
  std::set<std::string> seen;
  for (const Facts* facts : {&here, &there})
    for (const Fact& fact : *facts) {
      const std::string at_rank = value(there, fact.name), at_root = value(here, fact.name);
      if (at_rank != at_root && seen.insert(fact.name).second)
        texts.push_back(
            fmt::format("{} is {} on rank {} and {} on rank 0", fact.name, at_rank, rank, at_root));
    }
  const size_t more = texts.size() - std::min(texts.size(), most);
  texts.resize(texts.size() - more);
  return fmt::format("{}{}", fmt::join(texts, "; "), more > 0 ? fmt::format("; and {} more", more) : "");
}

// What `texts`, the ranks' hosts and facts, amount to where they differ.
std::string disagreement(const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, Facts>> ranks;  // host and facts
  for (const std::string& text : texts) {
    const size_t end = text.find(separator);
    ranks.emplace_back(text.substr(0, end), separated(std::string_view(text).substr(end + 1)));
  }
  std::vector<size_t> others;
  for (size_t rank = 1; rank < texts.size(); ++rank)
    if (joined(ranks[rank].second) != joined(ranks[0].second)) others.push_back(rank);
  const size_t first = others.front(), more = others.size() - 1;
  return fmt::format("Rank {} ({}) differs from rank 0 ({}): {}.{}", first, ranks[first].first,
                     ranks[0].first, differences(ranks[0].second, ranks[first].second, first),
                     more == 0   ? ""
                     : more == 1 ? fmt::format(" So does rank {}.", others[1])
                                 : fmt::format(" So do {} more ranks.", more));
}

// An empty file that exists as long as this object.
class Probe {
 public:
  explicit Probe(fs::path path) : path_(std::move(path)) {}
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  ~Probe() {
    if (made_) ::unlink(path_.c_str());
  }
  // Returns 0 or the error's number. A folder that another host has just made may be missing for a while.
  int make(Clock::time_point end) {
    for (;;) {
      const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
      made_ = descriptor >= 0;
      if (made_) return ::close(descriptor) == 0 ? 0 : errno;
      if (errno != ENOENT || Clock::now() >= end) return errno;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

 private:
  fs::path path_;
  bool made_ = false;
};

// Waits until the folder has all of these files; returns the place of the first that did not come, or -1.
// Whoever lists a folder is shown new files; whoever asks for one file may be told what was so a while ago.
int missing(const fs::path& folder, const std::vector<std::string>& names, Clock::time_point end) {
  for (;;) {
    std::set<std::string> found;
    std::error_code code;
    for (const auto& item : fs::directory_iterator(folder, code))
      found.insert(item.path().filename().string());
    const auto absent = std::find_if(names.begin(), names.end(),
                                     [&](const std::string& name) { return !found.contains(name); });
    if (absent == names.end()) return -1;
    if (Clock::now() >= end) return static_cast<int>(absent - names.begin());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

void require_agreement(const World& world, const Facts& facts, const std::string& advice) {
  const std::string text = joined(facts);
  if (equal_everywhere(world, text)) return;
  const auto texts = world.all_gather(world.host() + separator + text);
  world.together([&] { throw Error("{} {}", disagreement(texts), advice); });
}

Fact program_fact() {
  return {"the program",
          fmt::format("sisa {} with LibTorch {}", code_version(), library_versions().libtorch)};
}

Facts recipe_facts(const Recipe& recipe) {
  Facts facts;
  for (const RecipeKey& key : recipe_keys())
    if (key.has_meaning(recipe)) facts.push_back({key.full_name(), print_on_a_line(key, recipe)});
  return facts;
}

void check_shared_folder(const fs::path& folder, const World& world, std::chrono::milliseconds patience) {
  std::string root = world.host(),
              number = fmt::format("{}-{}", ::getpid(), Clock::now().time_since_epoch().count());
  world.broadcast(root);
  world.broadcast(number);
  const auto name = [&](int rank) { return fmt::format(".probe-{}-{}", number, rank); };
  const auto end = [&] { return Clock::now() + patience; };
  Probe probe(folder / name(world.rank()));
  const auto make_probe = [&](Clock::time_point limit) {
    const int error = probe.make(limit);
    if (error == ENOENT)
      throw Error(
          "{}, which rank 0 ({}) has made, is not there. The run's folder must lie on a file system that all "
          "hosts share: choose another with --output.",
          folder.string(), root);
    if (error != 0)
      throw Error(
          "Cannot write to {}: {}. Every rank writes its part of a checkpoint there: choose an output folder "
          "that all ranks may write to.",
          folder.string(), std::strerror(error));
  };
  // The root's file comes first, so that no rank can take its own folder for the root's.
  world.together([&] {
    if (world.is_root()) make_probe(Clock::now());
  });
  world.together([&] {
    if (world.is_root()) return;
    const Clock::time_point limit = end();
    std::error_code code;
    if (missing(folder, {name(0)}, limit) >= 0 && fs::is_directory(folder, code))
      throw Error(
          "{} is not the folder of this name that rank 0 ({}) writes to: rank 0's file does not appear in "
          "it. "
          "The run's folder must lie on a file system that all hosts share: choose another with --output.",
          folder.string(), root);
    make_probe(limit);
  });
  world.together([&] {
    if (!world.is_root()) return;
    std::vector<std::string> names;
    for (int rank = 0; rank < world.size(); ++rank) names.push_back(name(rank));
    if (const int rank = missing(folder, names, end()); rank >= 0)
      throw Error(
          "What rank {} writes to {} does not appear on rank 0 ({}). The run's folder must lie on a file "
          "system "
          "that all hosts share: choose another with --output.",
          rank, folder.string(), root);
  });
}

}  // namespace sisa::launcher
