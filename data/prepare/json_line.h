// Reads the text out of a line of JSON.
#pragma once

#include <string>
#include <string_view>

namespace sisa::data {

// Reads the field `text`, a string, of the JSON object in `line` (RFC 8259; if there are several such fields,
// the last one). Returns "", or what is wrong with the line, such as "is no JSON object"; `text` is undefined
// then.
std::string read_text_field(std::string_view line, std::string& text);

// The same for ordinary lines only, about ten times as fast as a general parser. Returns false if a general
// parser has to decide: for lines that are wrong, and for escapes in names, numbers with an exponent or more
// than 300 digits, and 64 or more levels of nesting.
bool read_text_field_quickly(std::string_view line, std::string& text);

}  // namespace sisa::data
