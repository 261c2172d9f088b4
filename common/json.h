// JSON from files whose writers need not be trusted.
//
// The library that parses it copies, prints and deletes values by recursion, so that a text of many thousand
// nested brackets would overflow the stack; and its exceptions say neither where a value stands nor what was
// expected. Here nesting and the number of values are bounded before anything is parsed, and values are taken
// out with checks that name their place.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/error.h"

namespace sisa::common {

// A text is no JSON, or its values are not what was expected. The sentence has no full stop, so that the reader
// of the file can add advice.
class JsonError : public Error {
 public:
  using Error::Error;
};

struct JsonLimits {
  int levels = 64;             // of objects and lists within one another
  int64_t values = 8'000'000;  // takes about 1 GB at most once it is parsed
};
inline constexpr int64_t any_number_of_values = std::numeric_limits<int64_t>::max();

// Why a text is beyond the limits, such as "is nested more than 64 levels deep"; "" if it is not. The text need
// not be JSON.
std::string beyond_limits(std::string_view json, const JsonLimits& limits = {});

// Throws JsonError "`name` is no JSON: …" or "`name` is nested …". Json: nlohmann::json or
// nlohmann::ordered_json.
template <typename Json>
Json parse_json(std::string_view text, const std::string& name, const JsonLimits& limits = {});

// A value and its place, for error messages. The value must outlive it.
class JsonPart {
 public:
  // `where`: "" or "FILE: ", with the space at the end, of the whole text; "FILE: model.vocab" of a value in it.
  JsonPart(const nlohmann::json& value, std::string where) : value_(value), where_(std::move(where)) {}

  // Throws JsonError "`where` `text`".
  template <typename... Arguments>
  [[noreturn]] void refuse(fmt::format_string<Arguments...> text, Arguments&&... arguments) const {
    throw JsonError(before(' ') + fmt::format(text, std::forward<Arguments>(arguments)...));
  }
  const nlohmann::json& value() const { return value_; }
  const std::string& where() const { return where_; }
  std::string shown() const;  // the value on one line, cut off after 60 bytes

  // The members below throw JsonError, saying what stands there, if the value is of another type.
  bool is_null() const;
  bool has(const std::string& key) const;
  JsonPart at(const std::string& key) const;  // null if an object has no such key
  std::vector<JsonPart> items() const;        // of a list
  std::string text() const;
  int64_t integer(int64_t least, int64_t most) const;  // both inclusive
  double number() const;                               // finite
  bool flag(bool otherwise) const;                     // `otherwise` if it is null
  uint64_t hash() const;                               // a text of 16 hexadecimal digits, see hash_hex

 private:
  std::string before(char separator) const;  // the place, with what parts it from what follows

  const nlohmann::json& value_;
  std::string where_;
};

}  // namespace sisa::common
