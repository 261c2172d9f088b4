// The text in a line of JSON.
#pragma once

#include <string>
#include <string_view>

namespace sisa::data {

// Reads the field `text`, a string, of the object in `line` (RFC 8259; of fields with equal names the last
// counts). Returns "" or what is wrong with the line, such as "is no JSON object"; then `text` is undefined.
std::string read_text_field(std::string_view line, std::string& text);

// The same for common lines only, about ten times as fast as a general parser: false leaves the verdict to
// one. What is refused besides wrong lines: escapes in names, numbers with exponents or more than 300 digits,
// 64 levels of nesting.
bool read_text_field_quickly(std::string_view line, std::string& text);

}  // namespace sisa::data
