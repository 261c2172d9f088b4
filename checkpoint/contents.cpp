#include "checkpoint/contents.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <span>
#include <tuple>
#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/text.h"

namespace sisa::checkpoint {
namespace {

using nlohmann::json;
using parallel::StateArray;

constexpr std::array<std::pair<StateArray, std::string_view>, 3> group_names{
    {{StateArray::weights, "parameters"},
     {StateArray::moment1, "moment1"},
     {StateArray::moment2, "moment2"}}};
constexpr std::array<std::pair<c10::ScalarType, std::string_view>, 3> type_names{
    {{c10::kFloat, "float32"}, {c10::kDouble, "float64"}, {c10::kBFloat16, "bfloat16"}}};

// Of an index: of some two million slices.
constexpr int64_t most_values = 16'000'000;

template <typename Table, typename Key>
std::string_view name_in(const Table& table, Key key) {
  for (const auto& [k, name] : table)
    if (k == key) return name;
  TORCH_INTERNAL_ASSERT(false, "no such key in the table");
}

template <typename Table>
auto key_in(const Table& table, const common::JsonPart& name) {
  const std::string text = name.text();
  for (const auto& [key, n] : table)
    if (n == text) return key;
  name.refuse("is {}, which this version does not know", name.shown());
}

int64_t product(std::span<const int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

json to_object(const StoredSlice& s) {
  return {{"file", s.file},     {"array", group_name(s.array)},
          {"name", s.name},     {"begin", s.begin},
          {"end", s.end},       {"dtype", type_name(s.type)},
          {"offset", s.offset}, {"checksum", common::hash_hex(s.checksum)}};
}

StoredSlice to_source(const common::JsonPart& part) {
  constexpr int64_t most =
      std::numeric_limits<int64_t>::max() / 16;  // so that bytes and their sums fit int64
  StoredSlice source;
  source.file = part.at("file").text();
  source.array = key_in(group_names, part.at("array"));
  source.name = part.at("name").text();
  source.begin = part.at("begin").integer(0, most);
  source.end = part.at("end").integer(source.begin + 1, most);
  source.type = key_in(type_names, part.at("dtype"));
  source.offset = part.at("offset").integer(0, most);
  source.checksum = part.at("checksum").hash();
  return source;
}

std::vector<StoredSlice> to_sources(const common::JsonPart& list) {
  std::vector<StoredSlice> sources;
  for (const common::JsonPart& part : list.items()) sources.push_back(to_source(part));
  return sources;
}

Array to_array(const common::JsonPart& part) {
  constexpr size_t most_dimensions = 32;                              // of HDF5
  constexpr int64_t most = std::numeric_limits<int64_t>::max() / 16;  // elements
  Array array{part.at("name").text(), {}};
  if (array.name.empty()) part.at("name").refuse("is empty");
  const common::JsonPart shape = part.at("shape");
  int64_t numel = 1;
  for (const common::JsonPart& dimension : shape.items()) {
    array.shape.push_back(dimension.integer(1, most));
    if (__builtin_mul_overflow(numel, array.shape.back(), &numel) || numel > most)
      shape.refuse("is {}, which is more elements than any array has", shape.shown());
  }
  if (array.shape.empty() || array.shape.size() > most_dimensions)
    shape.refuse("has {} dimensions, where 1 to {} are expected", array.shape.size(), most_dimensions);
  return array;
}

bool is_rank_file(const std::string& name, int64_t world_size) {
  constexpr std::string_view before = "rank-";
  int rank = -1;
  if (name.starts_with(before)) std::from_chars(name.data() + before.size(), name.data() + name.size(), rank);
  return rank >= 0 && rank < world_size && name == rank_file_name(rank);
}

// Throws JsonError unless no two sources share bytes of a file.
void check_places(const std::vector<StoredSlice>& sources, const common::JsonPart& list) {
  std::vector<const StoredSlice*> order;
  for (const StoredSlice& source : sources) order.push_back(&source);
  std::sort(order.begin(), order.end(), [](const StoredSlice* a, const StoredSlice* b) {
    return std::tie(a->file, a->offset) < std::tie(b->file, b->offset);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const StoredSlice &a = *order[i - 1], &b = *order[i];
    if (a.file == b.file && b.offset < a.offset + a.bytes())
      list.refuse("has {} and {} in the same bytes of {}", a.describe(), b.describe(), a.file);
  }
}

// Throws JsonError unless the slices cover the weights of each array, and both moments if there are any, exactly
// once and in one type.
void check_cover(const Contents& contents, const common::JsonPart& list) {
  auto by_array = contents.sources_by_array();
  for (const StateArray state : saved_arrays(contents.has_moments()))
    for (const Array& array : contents.arrays) {
      const auto name = fmt::format("{}/{}", group_name(state), array.name);
      const auto slices = by_array.extract({state, array.name});
      if (slices.empty()) list.refuse("has no slice of {}", name);
      int64_t covered = 0;
      for (const StoredSlice* slice : slices.mapped()) {
        if (slice->begin != covered)
          list.refuse("has {}, where one from element {} on is expected", slice->describe(), covered);
        if (slice->type != slices.mapped().front()->type)
          list.refuse("has {} in another type than the slices before it", slice->describe());
        covered = slice->end;
      }
      if (covered != array.numel())
        list.refuse("has slices of {} up to element {}, but its shape {} has {}", name, covered,
                    format_shape(array.shape), array.numel());
    }
  if (!by_array.empty())
    list.refuse("has {}, which is none of its arrays", by_array.begin()->second.front()->describe());
}

// The lines of a recipe's section `model:`, on one line: "system: sisa, d_model: 64". Empty if there are
// none.
std::string model_section(const std::string& recipe) {
  const std::string key = "model:\n";
  size_t at = recipe.starts_with(key) ? 0 : recipe.find("\n" + key);
  if (at == std::string::npos) return "";
  std::string section;
  at = recipe.find("model:", at) + key.size();
  while (at < recipe.size() && recipe[at] == ' ') {
    const size_t end = std::min(recipe.find('\n', at), recipe.size());
    const size_t first = std::min(recipe.find_first_not_of(' ', at), end);
    section += (section.empty() ? "" : ", ") + recipe.substr(first, end - first);
    at = end + 1;
  }
  return section;
}

// Appends the boxes of the elements [begin, end) of a part of an array. The part has the shape `shape`, the
// first indices `start` within the array, and its first element has the row-major index `flat`.
void append_rectangles(std::span<const int64_t> shape, std::vector<int64_t> start, int64_t flat,
                       int64_t begin, int64_t end, std::vector<Rectangle>& out) {
  const int64_t row = product(shape.subspan(1));
  start.push_back(0);
  while (begin < end) {
    start.back() = begin / row;
    if (begin % row == 0 && end - begin >= row) {
      const int64_t rows = (end - begin) / row;
      Rectangle box{
          .start = start, .count = std::vector<int64_t>(start.size() - 1, 1), .begin = flat + begin};
      box.count.push_back(rows);
      box.count.insert(box.count.end(), shape.begin() + 1, shape.end());
      box.start.resize(box.count.size(), 0);
      out.push_back(std::move(box));
      begin += rows * row;
    } else {
      const int64_t origin = start.back() * row;
      const int64_t stop = std::min(end, origin + row);
      append_rectangles(shape.subspan(1), start, flat + origin, begin - origin, stop - origin, out);
      begin = stop;
    }
  }
}

}  // namespace

int64_t Array::numel() const {
  return product(shape);
}

std::string StoredSlice::dataset() const {
  return fmt::format("/{}/{}", group_name(array), name);
}

std::string StoredSlice::describe() const {
  return fmt::format("{}/{}, elements {} to {}", group_name(array), name, begin, end);
}

bool Contents::has_moments() const {
  return std::any_of(sources.begin(), sources.end(),
                     [](const StoredSlice& s) { return s.array != StateArray::weights; });
}

int64_t Contents::num_elements() const {
  return std::accumulate(arrays.begin(), arrays.end(), int64_t{0},
                         [](int64_t sum, const Array& a) { return sum + a.numel(); });
}

std::string Contents::fingerprint() const {
  std::string text;
  for (const Array& a : arrays) text += fmt::format("{} {}\n", a.name, format_shape(a.shape));
  return common::hash_hex(common::hash64(text));
}

const StoredSlice* Contents::source_of(const Array& array) const {
  const auto found = std::find_if(sources.begin(), sources.end(), [&](const StoredSlice& s) {
    return s.array == StateArray::weights && s.name == array.name;
  });
  return found == sources.end() ? nullptr : &*found;
}

std::map<std::pair<StateArray, std::string>, std::vector<const StoredSlice*>> Contents::sources_by_array()
    const {
  std::map<std::pair<StateArray, std::string>, std::vector<const StoredSlice*>> result;
  for (const StoredSlice& s : sources) result[{s.array, s.name}].push_back(&s);
  for (auto& [key, list] : result)
    std::sort(list.begin(), list.end(),
              [](const StoredSlice* a, const StoredSlice* b) { return a->begin < b->begin; });
  return result;
}

std::span<const StateArray> saved_arrays(bool moments) {
  static constexpr std::array all = {StateArray::weights, StateArray::moment1, StateArray::moment2};
  return std::span(all).first(moments ? all.size() : 1);
}

std::string_view group_name(StateArray array) {
  return name_in(group_names, array);
}

std::string_view type_name(c10::ScalarType type) {
  return name_in(type_names, type);
}

std::string format_shape(const std::vector<int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

std::string rank_file_name(int rank) {
  return fmt::format("rank-{:05}.h5", rank);
}

std::vector<Array> arrays_of(const parallel::ParameterSpace& space) {
  std::vector<Array> arrays;
  for (const common::Parameter* parameter : space.parameters())
    for (const common::Block& block : parameter->blocks) arrays.push_back({block.name, block.shape});
  return arrays;
}

std::string differences(const std::vector<Array>& stored, const parallel::ParameterSpace& space) {
  constexpr size_t shown = 3;
  std::map<std::string, std::vector<int64_t>> left;  // stored arrays that are not yet found in the model
  for (const Array& a : stored) left[a.name] = a.shape;
  std::vector<Array> missing;
  std::vector<std::string> texts;
  for (const Array& a : arrays_of(space)) {
    const auto found = left.find(a.name);
    if (found == left.end()) {
      missing.push_back(a);
      continue;
    }
    if (found->second != a.shape)
      texts.push_back(fmt::format("{} is {} there and {} here", a.name, format_shape(found->second),
                                  format_shape(a.shape)));
    left.erase(found);
  }
  std::vector<std::string> candidates;
  for (const auto& [name, shape] : left) candidates.push_back(name);
  for (const Array& a : missing) {
    texts.push_back(fmt::format("it lacks {} {}", a.name, format_shape(a.shape)));
    const std::string nearest = texts.size() <= shown ? common::nearest(a.name, candidates) : "";
    if (!nearest.empty()) texts.back() += fmt::format(", to which {} comes nearest", nearest);
  }
  for (const auto& [name, shape] : left)
    texts.push_back(fmt::format("{} {} is there only", name, format_shape(shape)));

  std::string text =
      fmt::format("{}", fmt::join(texts.begin(), texts.begin() + std::min(shown, texts.size()), "; "));
  if (texts.size() > shown) text += fmt::format("; and {} more differences", texts.size() - shown);
  return text;
}

void check_same_model(const Contents& contents, const parallel::ParameterSpace& space,
                      const std::string& folder) {
  const std::string found = differences(contents.arrays, space);
  if (found.empty()) return;
  std::string text =
      fmt::format("The checkpoint {} is of another model than this recipe's: {}", folder, found);
  const std::string model = model_section(contents.state.recipe);
  if (!model.empty()) text += fmt::format(". It was trained with the model {{{}}}", model);
  throw Error("{}. Use the recipe that it was trained with, or start a new run in another output folder.",
              text);
}

std::string to_json(const std::vector<StoredSlice>& sources) {
  json list = json::array();
  for (const StoredSlice& s : sources) list.push_back(to_object(s));
  return list.dump();
}

std::vector<StoredSlice> sources_from_json(const std::string& text) {
  const json list = common::parse_json<json>(text, "a rank's list of slices", {.values = most_values});
  return to_sources({list, "a rank's list of slices: "});
}

std::string index_to_json(const Contents& contents) {
  json index = {{"arrays", json::array()}, {"sources", json::array()}};
  for (const Array& a : contents.arrays) index["arrays"].push_back({{"name", a.name}, {"shape", a.shape}});
  for (const StoredSlice& s : contents.sources) index["sources"].push_back(to_object(s));
  return index.dump(1);
}

void index_from_json(const std::string& text, const std::string& name, Contents& contents) {
  const json index = common::parse_json<json>(text, name, {.levels = 8, .values = most_values});
  const common::JsonPart root(index, name + ": "), arrays = root.at("arrays"), sources = root.at("sources");
  std::set<std::string_view> names;
  contents.arrays.clear();
  for (const common::JsonPart& part : arrays.items()) contents.arrays.push_back(to_array(part));
  for (const Array& array : contents.arrays)
    if (!names.insert(array.name).second) arrays.refuse("has {} twice", array.name);
  contents.sources = to_sources(sources);
  for (size_t i = 0; i < contents.sources.size(); ++i)
    if (!is_rank_file(contents.sources[i].file, contents.world_size))
      sources.refuse("has '{}' as the file of slice {}; one of the {} ranks' files, such as {}, is expected",
                     contents.sources[i].file, i, contents.world_size, rank_file_name(0));
  if (contents.arrays.empty()) arrays.refuse("is empty");
  check_cover(contents, sources);
  check_places(contents.sources, sources);
}

int64_t Rectangle::numel() const {
  return product(count);
}

std::vector<Rectangle> rectangles(const std::vector<int64_t>& shape, int64_t begin, int64_t end) {
  std::vector<Rectangle> out;
  append_rectangles(shape, {}, 0, begin, end, out);
  return out;
}

}  // namespace sisa::checkpoint
