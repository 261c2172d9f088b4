#include "launcher/commands/checkpoint_diff.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/contents.h"
#include "checkpoint/rank_file.h"
#include "checkpoint/store.h"
#include "common/error.h"
#include "common/quantity.h"
#include "common/text.h"
#include "launcher/commands/on_root.h"
#include "launcher/run/opened_run.h"

namespace sisa::launcher {
namespace {

using checkpoint::Array;
using checkpoint::Contents;
using common::format_count;
using parallel::StateArray;

using Lines = std::vector<std::pair<std::string, std::string>>;  // name, value

constexpr StateArray all_arrays[] = {StateArray::weights, StateArray::moment1, StateArray::moment2};

// Where training goes on from these the same follows; the rest says how they came about.
Lines position(const Contents& contents) {
  const checkpoint::RunState& state = contents.state;
  return {{"step", format_count(state.step)},
          {"updates", format_count(state.updates)},
          {"samples", format_count(state.samples)},
          {"tokens", format_count(state.tokens)}};
}

Lines circumstances(const Contents& contents) {
  const auto loss = contents.state.held_out_loss;
  return {{"held-out loss", loss ? fmt::format("{}", *loss) : "-"},
          {"precision", contents.precision},
          {"ranks", fmt::format("{}", contents.world_size)},
          {"code", contents.state.code_version},
          {"extra", contents.state.extra}};
}

// A recipe's lines as "section.key" and value; items of a list go by "section.key" and their position.
Lines recipe_lines(const Contents& contents) {
  Lines lines;
  std::string section, key;
  int item = 0;
  for (const std::string& line : common::split(contents.state.recipe, '\n')) {
    const size_t indent = line.find_first_not_of(' ');
    if (indent == std::string::npos) continue;
    if (line[indent] == '-') {
      lines.emplace_back(fmt::format("{}[{}]", key, item++), line.substr(std::min(indent + 2, line.size())));
      continue;
    }
    const size_t colon = std::min(line.find(':', indent), line.size());
    const std::string name = line.substr(indent, colon - indent);
    const std::string value = line.substr(std::min(colon + 2, line.size()));
    if (indent == 0) section = name;
    key = indent == 0 ? name : section + "." + name;
    item = 0;
    if (!value.empty()) lines.emplace_back(key, value);
  }
  return lines;
}

// The lines in which a and b differ, one below the other. Appends to `text`; returns whether there are any.
bool compare(const std::string& title, const Lines& a, const Lines& b, std::string& text) {
  const std::map<std::string, std::string> in_a(a.begin(), a.end()), in_b(b.begin(), b.end());
  const auto value = [](const auto& lines, const std::string& name) -> std::string {
    const auto found = lines.find(name);
    return found == lines.end() ? "(absent)" : found->second;
  };
  std::set<std::string> shown;
  const size_t before = text.size();
  for (const Lines* lines : {&a, &b})
    for (const auto& [name, unused] : *lines)
      if (value(in_a, name) != value(in_b, name) && shown.insert(name).second)
        text += fmt::format("{} {}\n  a  {}\n  b  {}\n", title, name, value(in_a, name), value(in_b, name));
  return text.size() > before;
}

struct Difference {
  int64_t elements = 0;
  int64_t differing = 0;  // in any bit
  double absolute = 0;    // the largest |a - b|; NaN if one is
  double relative = 0;    // the largest |a - b| / max(|a|, |b|)
};

void raise(double& largest, double value) {
  if (std::isnan(value) || value > largest) largest = value;
}

// Every stored type fits into a double without rounding, so equal doubles are equal bits.
Difference compare(const at::Tensor& a, const at::Tensor& b) {
  constexpr int64_t chunk = 1 << 20;  // elements
  Difference result{.elements = a.numel()};
  for (int64_t begin = 0; begin < a.numel(); begin += chunk) {
    const int64_t count = std::min(chunk, a.numel() - begin);
    const at::Tensor wide_a = a.narrow(0, begin, count).to(at::kDouble);
    const at::Tensor wide_b = b.narrow(0, begin, count).to(at::kDouble);
    const auto *x = wide_a.const_data_ptr<double>(), *y = wide_b.const_data_ptr<double>();
    for (int64_t i = 0; i < count; ++i) {
      if (std::bit_cast<uint64_t>(x[i]) == std::bit_cast<uint64_t>(y[i])) continue;
      result.differing += 1;
      const double distance = std::abs(x[i] - y[i]);
      raise(result.absolute, distance);
      if (distance != 0) raise(result.relative, distance / std::max(std::abs(x[i]), std::abs(y[i])));
    }
  }
  return result;
}

class ArrayComparison {
 public:
  ArrayComparison(const checkpoint::Entry& a, const checkpoint::Entry& b, const Contents& in_a,
                  const Contents& in_b)
      : a_(a.path, in_a), b_(b.path, in_b) {
    const auto arrays_a = arrays_of(in_a), arrays_b = arrays_of(in_b);
    for (const auto& [key, array] : arrays_a) {
      const auto found = arrays_b.find(key);
      if (found == arrays_b.end())
        report(key, "only in a");
      else if (array.first != found->second.first)
        report(key, fmt::format("shape {} in a, {} in b", checkpoint::format_shape(array.first),
                                checkpoint::format_shape(found->second.first)));
      else
        compare_numbers(key, array, found->second);
    }
    for (const auto& [key, array] : arrays_b)
      if (!arrays_a.contains(key)) report(key, "only in b");
  }

  bool equal() const { return num_different_ == 0; }
  const std::string& text() const { return text_; }
  std::string summary() const {
    return equal() ? fmt::format("All {} arrays of {} numbers are equal, bit for bit.", num_arrays_,
                                 format_count(num_elements_))
                   : fmt::format("{} of {} arrays differ.", num_different_, num_arrays_);
  }

 private:
  using Key = std::pair<StateArray, std::string>;
  using Stored = std::pair<std::vector<int64_t>, c10::ScalarType>;  // shape and type

  static std::map<Key, Stored> arrays_of(const Contents& contents) {
    std::map<std::string, std::vector<int64_t>> shapes;
    for (const Array& array : contents.arrays) shapes[array.name] = array.shape;
    std::map<Key, Stored> result;
    for (const checkpoint::StoredSlice& source : contents.sources)
      result[{source.array, source.name}] = {shapes.at(source.name), source.type};
    return result;
  }

  void report(const Key& key, const std::string& what) {
    text_ += fmt::format("{}/{}: {}\n", checkpoint::group_name(key.first), key.second, what);
    num_arrays_ += 1;
    num_different_ += 1;
  }

  // One array at a time is in memory.
  void compare_numbers(const Key& key, const Stored& a, const Stored& b) {
    const int64_t elements = Array{key.second, a.first}.numel();
    const Difference found =
        compare(a_.read(key.first, key.second, 0, elements), b_.read(key.first, key.second, 0, elements));
    std::string what;
    if (a.second != b.second)
      what =
          fmt::format("{} in a, {} in b; ", checkpoint::type_name(a.second), checkpoint::type_name(b.second));
    if (found.differing > 0 || !what.empty())
      report(key, what + fmt::format("{} of {} numbers differ, by up to {:.3g}, relatively {:.3g}",
                                     format_count(found.differing), format_count(found.elements),
                                     found.absolute, found.relative));
    else
      num_arrays_ += 1;
    num_elements_ += elements;
  }

  checkpoint::Reader a_, b_;
  int64_t num_arrays_ = 0, num_different_ = 0, num_elements_ = 0;
  std::string text_;
};

}  // namespace

void add_options(Options& options, CheckpointDiffArguments& arguments) {
  options.describe("Compare two checkpoints, number by number");
  add_run(options, arguments.a, "A");
  options.add("B", arguments.b, "RUN[@STEP]", "the other one").required();
  options.footer(
      "Exit status: 0 if steps, samples, tokens and every array agree bit for bit; 1 if not. Recipes are "
      "shown where they differ and do not count.");
}

int run(const CheckpointDiffArguments& arguments, const parallel::World& world) {
  const OpenedRun run_a(arguments.a, world), run_b(arguments.b, world);
  int64_t equal = 0;
  on_root(world, [&] {
    const Contents a = run_a.contents(), b = run_b.contents();
    std::string text =
        fmt::format("a  {}\nb  {}\n", run_a.checkpoint.path.string(), run_b.checkpoint.path.string());
    const bool moved = compare("state", position(a), position(b), text);
    compare("state", circumstances(a), circumstances(b), text);
    compare("recipe", recipe_lines(a), recipe_lines(b), text);
    const ArrayComparison arrays(run_a.checkpoint, run_b.checkpoint, a, b);
    equal = !moved && arrays.equal();
    fmt::print("{}{}{}\n", text, arrays.text(), arrays.summary());
  });
  world.all_reduce({&equal, 1}, parallel::World::Reduction::max);
  return equal ? common::success : common::failure;
}

}  // namespace sisa::launcher
