// Classes of code points, as the Python package `tokenizers` defines them (scripts/make_unicode_tables.py),
// and access to the characters of UTF-8 text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sisa::data {

enum CharacterClass : uint8_t {
  letter = 1,       // \p{L}
  number = 2,       // \p{N}
  white_space = 4,  // \s
  word = 8,         // \w next to an added token
  composing = 16,   // may change under NFC, or change the character before it
};
// The classes of a code point, combined by bitwise or. c < 0x110000.
uint8_t character_classes(char32_t c);

struct Character {
  char32_t code;
  size_t end;  // the offset behind its last byte; for character_before(): of its first byte
};
// The character that begins at `begin` < text.size(). `text` is valid UTF-8.
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
// The character that ends at `end` > 0. `text` is valid UTF-8.
Character character_before(std::string_view text, size_t end);

}  // namespace sisa::data
