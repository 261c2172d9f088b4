// Unicode normalization forms and lower case, by the tables of data/tokenizer/unicode_tables.h.
#pragma once

#include <string>
#include <string_view>

namespace sisa::data {

// The form C of `text`, which is valid UTF-8: `text` itself if it is in form C, otherwise a copy in `buffer`.
// Takes linear time, but n log n for a run of n combining marks.
std::string_view nfc(std::string_view text, std::string& buffer);

enum class NormalizationForm { nfc, nfd, nfkc, nfkd };
// `text`, which is valid UTF-8, in a form: `text` itself or a copy in `buffer`.
std::string_view normalized(std::string_view text, NormalizationForm form, std::string& buffer);
// `text`, which is valid UTF-8, with each character in lower case, whatever stands around it.
std::string_view lower_case(std::string_view text, std::string& buffer);

}  // namespace sisa::data
