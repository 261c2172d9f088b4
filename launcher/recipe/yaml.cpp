#include "launcher/recipe/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "common/error.h"

namespace sisa::launcher {
namespace {

// More than any recipe needs; aliases can make a small file an endless tree, and a long text many.
constexpr int maximum_values = 10'000;
constexpr size_t maximum_bytes = 4 << 20;  // of all scalars and keys

class Reader {
 public:
  Reader(const std::string& source, bool has_lines) : source_(source), has_lines_(has_lines) {}

  Yaml read(std::string_view text) {
    std::vector<YAML::Node> documents;
    try {
      documents = YAML::LoadAll(std::string(text));
    } catch (const YAML::Exception& error) {
      throw Error("{}: this is not valid YAML: {}.", where(error.mark), error.msg);
    }
    if (documents.size() > 1)
      throw Error("{}: a second YAML document begins here; only one is expected.",
                  where(documents[1].Mark()));
    return documents.empty() ? Yaml{.where = source_} : convert(documents[0]);
  }

 private:
  std::string where(const YAML::Mark& mark) const {
    return has_lines_ && mark.line >= 0 ? fmt::format("{}:{}", source_, mark.line + 1) : source_;
  }

  Yaml convert(const YAML::Node& node) {
    Yaml value{.where = where(node.Mark())};
    if (node.IsScalar()) count_bytes(node.Scalar(), value.where);
    if (++num_values_ > maximum_values)
      throw Error("{}: more than {} values; do aliases lead in a circle?", value.where, maximum_values);
    switch (node.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null:
        break;
      case YAML::NodeType::Scalar:
        value.kind = Yaml::Kind::scalar;
        value.text = node.Scalar();
        break;
      case YAML::NodeType::Sequence:
        value.kind = Yaml::Kind::list;
        for (const YAML::Node& item : node) value.items.push_back(convert(item));
        break;
      case YAML::NodeType::Map:
        value.kind = Yaml::Kind::map;
        for (const auto& pair : node) append(value.entries, pair.first, pair.second);
        break;
    }
    return value;
  }

  void count_bytes(const std::string& text, const std::string& place) {
    num_bytes_ += text.size();
    if (num_bytes_ > maximum_bytes)
      throw Error("{}: the values have more than {} bytes.", place, maximum_bytes);
  }

  void append(std::vector<Yaml::Entry>& entries, const YAML::Node& key, const YAML::Node& value) {
    const std::string place = where(key.Mark());
    if (!key.IsScalar()) throw Error("{}: a key must be a plain word.", place);
    count_bytes(key.Scalar(), place);
    const auto earlier = std::find_if(entries.begin(), entries.end(),
                                      [&](const Yaml::Entry& entry) { return entry.key == key.Scalar(); });
    if (earlier != entries.end())
      throw Error("{}: '{}' stands here a second time, after {}. Keep one.", place, key.Scalar(),
                  earlier->where);
    entries.push_back({key.Scalar(), place, convert(value)});
  }

  const std::string& source_;
  bool has_lines_;
  int num_values_ = 0;
  size_t num_bytes_ = 0;
};

}  // namespace

std::string Yaml::shown() const {
  switch (kind) {
    case Kind::empty:
      return "nothing";
    case Kind::scalar:
      return fmt::format("'{}'", text);
    case Kind::list:
      return "a list";
    case Kind::map:
      return "a map";
  }
  return "";
}

Yaml parse_yaml(std::string_view text, const std::string& source, YamlPlace place) {
  return Reader(source, /*has_lines=*/place == YamlPlace::file).read(text);
}

std::string yaml_scalar(std::string_view text) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '/' || c == '_';
  };
  const auto plain_inside = [&](char c) { return plain(c) || c == '-' || c == '.' || c == '+'; };
  const bool word = text == "null" || text == "Null" || text == "NULL";
  if (!text.empty() && !word && (plain(text[0]) || (text[0] == '.' && !text.starts_with("..."))) &&
      std::all_of(text.begin(), text.end(), plain_inside))
    return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      quoted += c;
  }
  return quoted + '"';
}

}  // namespace sisa::launcher
