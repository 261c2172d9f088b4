// UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string_view>

namespace sisa::data {

// Offset of the first byte that does not begin a whole character; npos if there is none.
size_t find_invalid_utf8(std::string_view text);

// `offset`, moved back to the start of the character that it lies in.
size_t character_start(std::string_view text, size_t offset);

}  // namespace sisa::data
