#include "checkpoint/contents.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <utility>

#include "checkpoint/damage.h"
#include "common/error.h"
#include "common/hash.h"
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

template <typename Table, typename Key>
std::string_view name_in(const Table& table, Key key) {
  for (const auto& [k, name] : table)
    if (k == key) return name;
  TORCH_INTERNAL_ASSERT(false, "no such key in the table");
}

template <typename Table>
auto key_in(const Table& table, const std::string& name) {
  for (const auto& [key, n] : table)
    if (n == name) return key;
  throw Damage(fmt::format("A checkpoint's index speaks of '{}', which this version does not know.", name));
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

StoredSlice to_source(const json& object) {
  return {.file = object.at("file"),
          .array = key_in(group_names, object.at("array")),
          .name = object.at("name"),
          .begin = object.at("begin"),
          .end = object.at("end"),
          .type = key_in(type_names, object.at("dtype")),
          .offset = object.at("offset"),
          .checksum = std::stoull(object.at("checksum").get<std::string>(), nullptr, 16)};
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
  std::vector<StoredSlice> sources;
  for (const json& object : json::parse(text)) sources.push_back(to_source(object));
  return sources;
}

std::string index_to_json(const Contents& contents) {
  json index = {{"arrays", json::array()}, {"sources", json::array()}};
  for (const Array& a : contents.arrays) index["arrays"].push_back({{"name", a.name}, {"shape", a.shape}});
  for (const StoredSlice& s : contents.sources) index["sources"].push_back(to_object(s));
  return index.dump(1);
}

void index_from_json(const std::string& text, Contents& contents) {
  const json index = json::parse(text);
  for (const json& a : index.at("arrays")) contents.arrays.push_back({a.at("name"), a.at("shape")});
  for (const json& s : index.at("sources")) contents.sources.push_back(to_source(s));
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
