// UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sisa::data {

// The offset of the first byte that does not begin a whole character; npos if the text is valid.
size_t find_invalid_utf8(std::string_view text);

// `offset`, moved back to the start of the character in which it lies.
size_t character_start(std::string_view text, size_t offset);

// Appends the UTF-8 bytes of a code point. c < 0x110000, and no surrogate.
void append_utf8(char32_t c, std::string& out);

// `text` itself if it is valid UTF-8; otherwise a copy in `buffer` in which each maximal part of a character
// that is cut off or wrong is replaced by one U+FFFD, as Python's bytes.decode("utf-8", "replace") does it.
std::string_view with_valid_utf8(std::string_view text, std::string& buffer);

}  // namespace sisa::data
