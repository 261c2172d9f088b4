// Unicode normalisation form C, with the tables of data/tokenizer/unicode_tables.cpp.
#pragma once

#include <string>
#include <string_view>

namespace sisa::data {

// `text`, valid UTF-8, if it is in form C; else its form C, in `buffer`. Time grows as n log n with the
// longest run of combining marks, else linearly.
std::string_view nfc(std::string_view text, std::string& buffer);

}  // namespace sisa::data
