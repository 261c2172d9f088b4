#include "data/tokenizer/unicode.h"

#include <algorithm>
#include <array>
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
  // The characters that NFC may change: marks with an order, second parts of compositions, and characters
  // that have a decomposition from which they are not composed again.
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

}  // namespace

uint8_t character_classes(char32_t c) {
  static const std::unique_ptr<const Classes> classes = make_classes();
  return (*classes)[c];
}

Character character_before(std::string_view text, size_t end) {
  const size_t begin = character_start(text, end - 1);
  return {character_at(text, begin).code, begin};
}

}  // namespace sisa::data
