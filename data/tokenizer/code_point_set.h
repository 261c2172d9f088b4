// Sets of Unicode code points, and those that have a name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace sisa::data {

// A bit for every code point: 136 KB, and a look-up of a few nanoseconds.
class CodePointSet {
 public:
  static constexpr char32_t end = 0x110000;  // code points are below

  CodePointSet() : words_(end / 64) {}
  bool contains(char32_t c) const { return words_[c / 64] >> c % 64 & 1; }
  // Adds the code points from `first` to `last`, both inclusive.
  void add(char32_t first, char32_t last);
  void add(char32_t c) { words_[c / 64] |= uint64_t{1} << c % 64; }
  void add(const CodePointSet& other);
  void keep(const CodePointSet& other);  // only those that `other` has, too
  void invert();
  // Whether every code point of this set is in `other`.
  bool within(const CodePointSet& other) const;
  bool operator==(const CodePointSet&) const = default;

 private:
  std::vector<uint64_t> words_;
};

// The code points of a property, as the package `tokenizers` has it in its patterns: a general category (Lu), a
// group of them (L), a script (Han) or one of `word` (\w), `digit` (\d), `space` (\s); case, spaces, '-' and '_'
// in the name do not count. Nothing if there is no table of that name (scripts/make_unicode_tables.py).
std::optional<CodePointSet> find_property(std::string_view name);

// What the package's other parts, which use tables of their own, take for a number, punctuation, white space.
const CodePointSet& numeric_characters();      // Digits
const CodePointSet& punctuation_characters();  // Punctuation, BertPreTokenizer
const CodePointSet& white_characters();        // WhitespaceSplit, BertPreTokenizer, Strip

}  // namespace sisa::data
