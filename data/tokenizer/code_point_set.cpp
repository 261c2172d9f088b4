#include "data/tokenizer/code_point_set.h"

#include <span>
#include <string>

#include "data/tokenizer/unicode_tables.h"

namespace sisa::data {
namespace {

// A name as names are compared: lower case, without ' ', '-' and '_'.
std::string plain(std::string_view name) {
  std::string result;
  for (const char c : name)
    if (c != ' ' && c != '-' && c != '_') result += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return result;
}

void add_ranges(CodePointSet& set, const tables::Range* ranges, size_t count) {
  for (const auto& [first, last] : std::span(ranges, count)) set.add(first, last);
}

// Adds the table of that name. False if there is none.
bool add_table(CodePointSet& set, std::string_view name) {
  for (const tables::Property& property : std::span(tables::properties, tables::num_properties))
    if (plain(property.name) == name) return add_ranges(set, property.ranges, property.count), true;
  return false;
}

CodePointSet table(std::string_view name) {
  CodePointSet set;
  add_table(set, name);
  return set;
}

}  // namespace

void CodePointSet::add(char32_t first, char32_t last) {
  for (char32_t c = first; c <= last; ++c) add(c);
}

void CodePointSet::add(const CodePointSet& other) {
  for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
}

void CodePointSet::keep(const CodePointSet& other) {
  for (size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
}

void CodePointSet::invert() {
  for (uint64_t& word : words_) word = ~word;
}

bool CodePointSet::within(const CodePointSet& other) const {
  for (size_t i = 0; i < words_.size(); ++i)
    if (words_[i] & ~other.words_[i]) return false;
  return true;
}

std::optional<CodePointSet> find_property(std::string_view given) {
  const std::string name = plain(given);
  CodePointSet set;
  // Categories by their long names and groups of categories by their letter.
  struct Group {
    std::string_view letter, name;
    std::vector<std::string_view> parts;
  };
  static const std::vector<Group> groups = {{"l", "letter", {"lu", "ll", "lt", "lm", "lo"}},
                                            {"m", "mark", {"mn", "mc", "me"}},
                                            {"n", "number", {"nd", "nl", "no"}},
                                            {"p", "punctuation", {"pc", "pd", "ps", "pe", "pi", "pf", "po"}},
                                            {"s", "symbol", {"sm", "sc", "sk", "so"}},
                                            {"z", "separator", {"zs", "zl", "zp"}},
                                            {"lu", "uppercaseletter", {"lu"}},
                                            {"ll", "lowercaseletter", {"ll"}},
                                            {"lt", "titlecaseletter", {"lt"}},
                                            {"lm", "modifierletter", {"lm"}},
                                            {"lo", "otherletter", {"lo"}},
                                            {"nd", "digit", {"nd"}},
                                            {"nd", "decimalnumber", {"nd"}}};
  if (name == "any") return set.invert(), set;
  if (name == "space" || name == "whitespace")
    return add_ranges(set, tables::white_spaces, tables::num_white_spaces), set;
  if (name == "numeric" || name == "white") return {};  // of other parts than patterns
  for (const Group& group : groups)
    if (name == group.letter || name == group.name) {
      for (const std::string_view part : group.parts) add_table(set, part);
      return set;
    }
  if (add_table(set, name)) return set;
  return {};
}

const CodePointSet& numeric_characters() {
  static const CodePointSet set = table("numeric");
  return set;
}
const CodePointSet& punctuation_characters() {
  static const CodePointSet set = table("punctuation");
  return set;
}
const CodePointSet& white_characters() {
  static const CodePointSet set = table("white");
  return set;
}

}  // namespace sisa::data
