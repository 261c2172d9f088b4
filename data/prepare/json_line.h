// Reads the text out of a line of JSON.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sisa::data {

// Why a line cannot be read.
struct LineProblem {
  enum class Kind {
    wrong,       // at one place
    unfinished,  // the line ends before its object does
    more,        // something stands after the object
    no_text      // the object has no field `text`
  };
  Kind kind = Kind::wrong;
  size_t column = 1;  // of the place, in characters from 1; a byte that is no UTF-8 counts as one
  std::string cause;  // such as "NaN is no value of JSON"
  std::string place_and_cause() const;  // "column 12: NaN is no value of JSON"
};

// Reads the field `text`, a string, of the object that is the whole of `line` (RFC 8259; if there are several
// such fields, the last one). A UTF-8 byte order mark before the object is passed over. Returns nothing, or
// what is wrong with the line; `text` is undefined then. Objects and lists may be nested 512 levels deep.
std::optional<LineProblem> read_text_field(std::string_view line, std::string& text);

bool is_json_object(
    std::string_view line);  // whether the line is one whole object, with white space around it
bool is_json_string(std::string_view line);
// Whether a text may begin with a line such as this: a whole value of JSON, or the beginning of one.
bool may_begin_json(std::string_view line);

inline constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

}  // namespace sisa::data
