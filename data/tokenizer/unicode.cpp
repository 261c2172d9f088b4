#include "data/tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

#include "data/tokenizer/unicode_tables.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data {
namespace {

constexpr size_t num_code_points = 0x110000;
using Classes = std::array<uint8_t, num_code_points>;

std::unique_ptr<const Classes> make_classes() {
  auto classes = std::make_unique<Classes>();
  const auto mark = [&](CharacterClass c, char32_t first, char32_t last) {
    for (char32_t i = first; i <= last; ++i) (*classes)[i] |= c;
  };
  const auto mark_all = [&](CharacterClass c, const tables::Range* ranges, size_t count) {
    for (size_t i = 0; i < count; ++i) mark(c, ranges[i].first, ranges[i].last);
  };
  using namespace tables;
  mark_all(letter, letters, num_letters);
  mark_all(number, numbers, num_numbers);
  mark_all(white_space, white_spaces, num_white_spaces);
  mark_all(word, word_characters, num_word_characters);
  // What NFC may touch: marks that have an order, second parts of a composition, and what has a decomposition
  // but is not composed again.
  for (size_t i = 0; i < num_combining; ++i) mark(composing, combining[i].character, combining[i].character);
  std::vector<char32_t> composed;
  for (size_t i = 0; i < num_compositions; ++i) {
    mark(composing, compositions[i].second, compositions[i].second);
    composed.push_back(compositions[i].composed);
  }
  std::sort(composed.begin(), composed.end());
  for (size_t i = 0; i < num_decompositions; ++i)
    if (!std::binary_search(composed.begin(), composed.end(), decompositions[i].character))
      mark(composing, decompositions[i].character, decompositions[i].character);
  mark(composing, 0x1161, 0x1175);  // Hangul vowels
  mark(composing, 0x11a8, 0x11c2);  // Hangul final consonants
  return classes;
}

// The length of the valid character at `begin`, or minus that of the maximal part of one that is not.
int64_t length_of_character(std::string_view text, size_t begin) {
  const auto byte = [&](size_t i) {
    return begin + i < text.size() ? unsigned{static_cast<unsigned char>(text[begin + i])} : 0u;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const int64_t length = first >= 0xc2 && first <= 0xdf   ? 2
                         : first >= 0xe0 && first <= 0xef ? 3
                         : first >= 0xf0 && first <= 0xf4 ? 4
                                                          : 0;
  if (length == 0) return -1;
  // The second byte's range excludes overlong forms, surrogates and what is beyond U+10FFFF.
  const unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return -1;
  for (int64_t i = 2; i < length; ++i)
    if ((byte(static_cast<size_t>(i)) & 0xc0) != 0x80) return -i;
  return length;
}

}  // namespace

uint8_t character_classes(char32_t c) {
  static const std::unique_ptr<const Classes> classes = make_classes();
  return (*classes)[c];
}

Character character_before(std::string_view text, size_t end) {
  const size_t begin = character_start(text, end - 1);
  return {character_at(text, begin).code, begin};
}

void append_utf8(char32_t c, std::string& out) {
  const auto add = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  const auto rest = [&](int shift) { add(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xc0 | c >> 6), rest(0);
  } else if (c < 0x10000) {
    add(0xe0 | c >> 12), rest(6), rest(0);
  } else {
    add(0xf0 | c >> 18), rest(12), rest(6), rest(0);
  }
}

std::string_view with_valid_utf8(std::string_view text, std::string& buffer) {
  size_t begin = find_invalid_utf8(text);
  if (begin == std::string_view::npos) return text;
  buffer.assign(text.substr(0, begin));
  while (begin < text.size()) {
    const int64_t length = length_of_character(text, begin);
    if (length > 0)
      buffer.append(text.substr(begin, static_cast<size_t>(length)));
    else
      append_utf8(0xfffd, buffer);
    begin += static_cast<size_t>(std::abs(length));
  }
  return buffer;
}

}  // namespace sisa::data
