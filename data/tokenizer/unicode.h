// What kind of character a code point is, as the Python package `tokenizers` sees it
// (scripts/make_unicode_tables.py).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sisa::data {

enum CharacterClass : uint8_t {
  letter = 1,       // \p{L}
  number = 2,       // \p{N}
  white_space = 4,  // \s
  word = 8,         // \w next to an added token
  composing = 16,   // may change under NFC, or may change what stands before it
};
// Classes of a code point, or'ed. c < 0x110000.
uint8_t character_classes(char32_t c);

struct Character {
  char32_t code;
  size_t end;  // of its bytes
};
// The character at `begin` < text.size(); text is valid UTF-8.
inline Character character_at(std::string_view text, size_t begin) {
  const auto byte = [&](size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[begin + i]));
  };
  const char32_t first = byte(0);
  if (first < 0x80) return {first, begin + 1};
  if (first < 0xe0) return {(first & 0x1f) << 6 | (byte(1) & 0x3f), begin + 2};
  if (first < 0xf0) return {(first & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f), begin + 3};
  return {(first & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f),
          begin + 4};
}
// The character that ends at `end` > 0.
Character character_before(std::string_view text, size_t end);

void append_utf8(char32_t c, std::string& out);

// `text` itself if it is valid UTF-8; else a copy in `buffer` in which each maximal part of a character that
// is cut off or wrong is one U+FFFD, as Python's bytes.decode("utf-8", "replace") has it.
std::string_view with_valid_utf8(std::string_view text, std::string& buffer);

}  // namespace sisa::data
