// The tables behind data/tokenizer/unicode.cpp, code_point_set.cpp and normalize.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sisa::data::tables {

struct Range {
  char32_t first, last;  // both inclusive
};
struct Combining {
  char32_t character;
  uint8_t order;  // the rank, from 1, of its canonical combining class among all classes
};
struct Decomposition {
  char32_t character;
  char32_t parts[4];  // the full canonical decomposition, with zeros after the last part
};
struct Composition {
  char32_t first, second, composed;
};

struct Property {
  const char* name;
  const Range* ranges;
  size_t count;
};
struct Mapping {
  char32_t character;
  const char* text;  // what it becomes, in UTF-8
};

// Sorted by their (first) character. Hangul syllables are not listed but composed arithmetically.
extern const Range letters[], numbers[], white_spaces[], word_characters[];
extern const size_t num_letters, num_numbers, num_white_spaces, num_word_characters;
extern const Combining combining[];
extern const size_t num_combining;
extern const Decomposition decompositions[];
extern const size_t num_decompositions;
extern const Composition compositions[];
extern const size_t num_compositions;

// In unicode_properties.cpp: what patterns ask for by name, and what Digits, Punctuation and WhitespaceSplit cut
// at (numeric, punctuation, white); what Lowercase does; and what NFKD does, where NFD does something else.
extern const Property properties[];
extern const size_t num_properties;
extern const Mapping lower_case[], compatibility[];
extern const size_t num_lower_case, num_compatibility;

}  // namespace sisa::data::tables
