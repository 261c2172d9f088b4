// Unicode normalization form C, by the tables of data/tokenizer/unicode_tables.cpp.
#pragma once

#include <string>
#include <string_view>

namespace sisa::data {

// The form C of `text`, which is valid UTF-8: `text` itself if it is in form C, otherwise a copy in `buffer`.
// Takes linear time, but n log n for a run of n combining marks.
std::string_view nfc(std::string_view text, std::string& buffer);

}  // namespace sisa::data
