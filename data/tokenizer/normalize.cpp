#include "data/tokenizer/normalize.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "data/tokenizer/unicode.h"
#include "data/tokenizer/unicode_tables.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data {
namespace {

// Hangul syllables are composed arithmetically (The Unicode Standard, 3.12).
constexpr char32_t syllables = 0xac00, leads = 0x1100, vowels = 0x1161, tails = 0x11a7;
constexpr char32_t num_leads = 19, num_vowels = 21, num_tails = 28,
                   num_syllables = num_leads * num_vowels * num_tails;

struct Marked {
  char32_t code;
  uint8_t order;  // the rank of its combining class; 0 for a starter
};

class Tables {
 public:
  Tables() {
    for (size_t i = 0; i < tables::num_combining; ++i)
      orders_[tables::combining[i].character] = tables::combining[i].order;
    for (size_t i = 0; i < tables::num_decompositions; ++i)
      parts_[tables::decompositions[i].character] = tables::decompositions[i].parts;
    for (size_t i = 0; i < tables::num_compositions; ++i) {
      const auto& [first, second, composed] = tables::compositions[i];
      composed_[key(first, second)] = composed;
    }
  }

  void decompose(char32_t c, std::vector<Marked>& out) const {
    const auto add = [&](char32_t part) { out.push_back({part, order(part)}); };
    if (c - syllables < num_syllables) {
      const char32_t i = c - syllables;
      add(leads + i / (num_vowels * num_tails));
      add(vowels + i / num_tails % num_vowels);
      if (i % num_tails) add(tails + i % num_tails);
    } else if (const auto found = parts_.find(c); found != parts_.end()) {
      for (const char32_t part : std::span(found->second, 4))
        if (part) add(part);
    } else {
      add(c);
    }
  }

  // The composition of two characters, or 0 if they do not compose.
  char32_t compose(char32_t first, char32_t second) const {
    if (first - leads < num_leads && second - vowels < num_vowels)
      return syllables + ((first - leads) * num_vowels + (second - vowels)) * num_tails;
    if (first - syllables < num_syllables && (first - syllables) % num_tails == 0 &&
        second - tails - 1 < num_tails - 1)
      return first + (second - tails);
    const auto found = composed_.find(key(first, second));
    return found == composed_.end() ? 0 : found->second;
  }

 private:
  static uint64_t key(char32_t first, char32_t second) { return uint64_t{first} << 32 | second; }
  uint8_t order(char32_t c) const {
    const auto found = orders_.find(c);
    return found == orders_.end() ? 0 : found->second;
  }
  std::unordered_map<char32_t, uint8_t> orders_;
  std::unordered_map<char32_t, const char32_t*> parts_;
  std::unordered_map<uint64_t, char32_t> composed_;
};

const Tables& composition_tables() {
  static const Tables tables;
  return tables;
}

// The canonical decomposition of `text`, with its marks in order.
std::vector<Marked> decomposed(std::string_view text) {
  const Tables& tables = composition_tables();
  std::vector<Marked> all;
  for (size_t i = 0; i < text.size();) {
    const auto [code, end] = character_at(text, i);
    tables.decompose(code, all);
    i = end;
  }
  for (auto begin = all.begin(); begin != all.end();) {
    begin = std::find_if(begin, all.end(), [](const Marked& m) { return m.order != 0; });
    const auto end = std::find_if(begin, all.end(), [](const Marked& m) { return m.order == 0; });
    std::stable_sort(begin, end, [](const Marked& a, const Marked& b) { return a.order < b.order; });
    begin = end;
  }
  return all;
}

// Appends the form C of `text`, which does not depend on the characters around it.
void append_nfc(std::string_view text, std::string& out) {
  const Tables& tables = composition_tables();
  std::vector<Marked> all = decomposed(text);
  // Each character is composed with the last starter, unless a character between the two with the same or a
  // higher order blocks it.
  size_t kept = 0;
  constexpr size_t none = SIZE_MAX;
  size_t starter = none;
  for (const Marked& c : all) {
    const bool adjacent = starter != none && kept == starter + 1;
    const bool blocked = !adjacent && kept > 0 && all[kept - 1].order >= c.order;
    if (const char32_t composed =
            starter == none || blocked ? 0 : tables.compose(all[starter].code, c.code)) {
      all[starter].code = composed;
      continue;
    }
    if (c.order == 0) starter = kept;
    all[kept++] = c;
  }
  for (size_t i = 0; i < kept; ++i) append_utf8(all[i].code, out);
}

// Appends each character of `text`, or what it becomes by a table.
void append_mapped(std::string_view text, std::span<const tables::Mapping> table, std::string& out) {
  for (size_t i = 0; i < text.size();) {
    const auto [code, end] = character_at(text, i);
    const auto found =
        std::lower_bound(table.begin(), table.end(), code,
                         [](const tables::Mapping& row, char32_t c) { return row.character < c; });
    if (found != table.end() && found->character == code)
      out.append(found->text);
    else
      out.append(text.substr(i, end - i));
    i = end;
  }
}

}  // namespace

std::string_view normalized(std::string_view text, NormalizationForm form, std::string& buffer) {
  if (form == NormalizationForm::nfc) return nfc(text, buffer);
  std::string compatible;
  if (form != NormalizationForm::nfd) {
    append_mapped(text, {tables::compatibility, tables::num_compatibility}, compatible);
    text = compatible;
  }
  buffer.clear();
  if (form == NormalizationForm::nfkc)
    append_nfc(text, buffer);
  else
    for (const Marked& c : decomposed(text)) append_utf8(c.code, buffer);
  return buffer;
}

std::string_view lower_case(std::string_view text, std::string& buffer) {
  buffer.clear();
  append_mapped(text, {tables::lower_case, tables::num_lower_case}, buffer);
  return buffer;
}

std::string_view nfc(std::string_view text, std::string& buffer) {
  size_t copied = 0;  // how many bytes of `text` are in `buffer`
  bool changed = false;
  size_t before = 0;  // the start of the last character that NFC does not change
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0xcc) {  // below U+0300, where every character is in form C
      before = i;
      i += static_cast<unsigned char>(text[i]) < 0x80 ? 1 : 2;
      continue;
    }
    const auto [code, end] = character_at(text, i);
    if (!(character_classes(code) & composing)) {
      before = i;
      i = end;
      continue;
    }
    size_t stop = end;
    while (stop < text.size()) {
      const auto [next, next_end] = character_at(text, stop);
      if (!(character_classes(next) & composing)) break;
      stop = next_end;
    }
    if (!changed) buffer.clear();
    changed = true;
    buffer.append(text.substr(copied, before - copied));
    append_nfc(text.substr(before, stop - before), buffer);
    copied = before = i = stop;
  }
  if (!changed) return text;
  buffer.append(text.substr(copied));
  return buffer;
}

}  // namespace sisa::data
