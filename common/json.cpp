#include "common/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <system_error>

#include "common/quantity.h"

namespace sisa::common {
namespace {

using nlohmann::json;

// What the library says, without its own name of the error: "parse error at line 1, column 2: …". It repeats
// the text that it read last, of any length.
std::string reason(const std::string& message) {
  constexpr size_t longest = 300;
  const size_t start = message.starts_with('[') ? message.find(' ') + 1 : 0;
  std::string text = message.substr(start, longest);
  if (message.size() - start > longest) text += " …";
  return text;
}

}  // namespace

std::string beyond_limits(std::string_view text, const JsonLimits& limits) {
  int level = 0;
  int64_t values = 1;
  for (size_t i = 0; i < text.size(); ++i) switch (text[i]) {
      case '"':
        for (++i; i < text.size() && text[i] != '"'; ++i)
          if (text[i] == '\\') ++i;
        break;
      case '[':
      case '{':
        ++values;
        if (++level > limits.levels)
          return fmt::format("is nested more than {} levels deep at byte {}", limits.levels,
                             format_count(static_cast<int64_t>(i)));
        break;
      case ']':
      case '}':
        --level;
        break;
      case ',':
        ++values;
        break;
    }
  if (values > limits.values) return fmt::format("has more than {} values", format_count(limits.values));
  return "";
}

template <typename Json>
Json parse_json(std::string_view text, const std::string& name, const JsonLimits& limits) {
  if (const std::string problem = beyond_limits(text, limits); !problem.empty())
    throw JsonError("{} {}", name, problem);
  try {
    return Json::parse(text);
  } catch (const json::exception& error) {
    throw JsonError("{} is no JSON: {}", name, reason(error.what()));
  }
}
template json parse_json(std::string_view, const std::string&, const JsonLimits&);
template nlohmann::ordered_json parse_json(std::string_view, const std::string&, const JsonLimits&);

std::string JsonPart::before(char separator) const {
  return where_.empty() || where_.ends_with(' ') ? where_ : where_ + separator;
}

std::string JsonPart::shown() const {
  constexpr size_t longest = 60;
  if (value_.is_null()) return "nothing";
  std::string text = value_.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  if (text.size() > longest) text = text.substr(0, longest) + " …";
  return text;
}

bool JsonPart::is_null() const {
  return value_.is_null();
}

bool JsonPart::has(const std::string& key) const {
  return !at(key).is_null();
}

JsonPart JsonPart::at(const std::string& key) const {
  static const json null;
  if (!value_.is_object()) refuse("is {}, where an object is expected", shown());
  const auto found = value_.find(key);
  return {found == value_.end() ? null : *found, before('.') + key};
}

std::vector<JsonPart> JsonPart::items() const {
  if (!value_.is_array()) refuse("is {}, where a list is expected", shown());
  std::vector<JsonPart> all;
  for (size_t i = 0; i < value_.size(); ++i) all.push_back({value_[i], fmt::format("{}[{}]", where_, i)});
  return all;
}

std::string JsonPart::text() const {
  if (!value_.is_string()) refuse("is {}, where a text is expected", shown());
  return value_.get<std::string>();
}

int64_t JsonPart::integer(int64_t least, int64_t most) const {
  const bool fits = value_.is_number_unsigned()
                        ? value_.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                        : value_.is_number_integer();
  if (!fits || value_.get<int64_t>() < least || value_.get<int64_t>() > most)
    refuse("is {}, where an integer from {} to {} is expected", shown(), format_count(least),
           format_count(most));
  return value_.get<int64_t>();
}

double JsonPart::number() const {
  if (!value_.is_number() || !std::isfinite(value_.get<double>()))
    refuse("is {}, where a number is expected", shown());
  return value_.get<double>();
}

bool JsonPart::flag(bool otherwise) const {
  if (is_null()) return otherwise;
  if (!value_.is_boolean()) refuse("is {}, where true or false is expected", shown());
  return value_.get<bool>();
}

uint64_t JsonPart::hash() const {
  const std::string digits = value_.is_string() ? value_.get<std::string>() : "";
  uint64_t number = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number, 16);
  if (digits.size() != 16 || error != std::errc() || stop != end)
    refuse("is {}, where a checksum of 16 hexadecimal digits is expected", shown());
  return number;
}

}  // namespace sisa::common
