#include "data/tokenizer/known_pattern.h"

#include <array>
#include <string>
#include <utility>

#include "data/tokenizer/unicode.h"

namespace sisa::data {
namespace {

constexpr uint8_t other = 0;  // neither letter nor number nor white space
constexpr uint8_t known = letter | number | white_space;

constexpr auto ascii_classes = [] {
  std::array<uint8_t, 128> classes{};
  for (char c = 'A'; c <= 'Z'; ++c)
    classes[static_cast<size_t>(c)] = classes[static_cast<size_t>(c) + 32] = letter;
  for (char c = '0'; c <= '9'; ++c) classes[static_cast<size_t>(c)] = number;
  for (const char c : {'\t', '\n', '\v', '\f', '\r', ' '}) classes[static_cast<size_t>(c)] = white_space;
  return classes;
}();

struct Seen {
  uint8_t kind;  // letter, number, white_space or other
  size_t end;
};

// The kind of the character at `begin`. The end of the text counts as white space of length 0.
inline Seen look(std::string_view text, size_t begin) {
  if (begin >= text.size()) return {white_space, begin};
  const auto byte = static_cast<unsigned char>(text[begin]);
  if (byte < 0x80) return {ascii_classes[byte], begin + 1};
  const auto [code, end] = character_at(text, begin);
  return {static_cast<uint8_t>(character_classes(code) & known), end};
}

// The end of the run of characters of `kind` that begins at `begin`, of at most `most` characters.
inline size_t run_end(std::string_view text, size_t begin, uint8_t kind, size_t most = SIZE_MAX) {
  for (; most > 0 && begin < text.size(); --most) {
    const Seen next = look(text, begin);
    if (next.kind != kind) break;
    begin = next.end;
  }
  return begin;
}

inline bool is_line_end(char c) {
  return c == '\r' || c == '\n';
}

}  // namespace

KnownPattern KnownPattern::gpt2() {
  return KnownPattern(Rules{});
}

std::optional<KnownPattern> KnownPattern::find(std::string_view pattern) {
  constexpr Rules llama3{.any_case = true, .any_prefix = true, .digits = 3, .line_ends = true};
  constexpr Rules qwen2{.any_case = true, .any_prefix = true, .digits = 1, .line_ends = true};
  static constexpr std::array<std::pair<std::string_view, Rules>, 5> patterns{{
      {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", Rules{}},
      {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", Rules{}},
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       llama3},
      {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
       llama3},
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       qwen2},
  }};
  for (const auto& [text, rules] : patterns)
    if (text == pattern) return KnownPattern(rules);
  return {};
}

size_t KnownPattern::contraction_end(std::string_view text, size_t begin) const {
  const auto at = [&](size_t i) {
    const char c = begin + i < text.size() ? text[begin + i] : '\0';
    return rules_.any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  switch (at(1)) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return begin + 2;
    case 'r':
    case 'v':
      return at(2) == 'e' ? begin + 3 : 0;
    case 'l':
      return at(2) == 'l' ? begin + 3 : 0;
    default:
      break;
  }
  if (rules_.any_case && text.substr(begin + 1).starts_with("\u017f"))
    return begin + 3;  // the long s, which is an s if case is ignored
  return 0;
}

// Matches `\s+(?!\S)|\s+`, and with line_ends first of all `\s*[\r\n]+`.
size_t KnownPattern::white_space_end(std::string_view text, size_t begin) const {
  size_t end = begin, last = begin, behind_line_end = begin;  // `last` is the start of the last character
  while (end < text.size()) {
    const Seen next = look(text, end);
    if (next.kind != white_space) break;
    last = end;
    end = next.end;
    if (is_line_end(text[last])) behind_line_end = end;
  }
  if (rules_.line_ends && behind_line_end > begin) return behind_line_end;
  // The last character belongs to the word behind it, unless it is the only one.
  return end == text.size() || last == begin ? end : last;
}

size_t KnownPattern::piece_end(std::string_view text, size_t begin) const {
  const char first = text[begin];
  if (first == '\'')
    if (const size_t end = contraction_end(text, begin)) return end;
  const Seen here = look(text, begin);
  if (here.kind == letter) return run_end(text, here.end, letter);
  if (here.kind == number)
    return run_end(text, here.end, number, rules_.digits == 0 ? SIZE_MAX : rules_.digits - 1);

  const Seen next = look(text, here.end);
  if (next.kind == letter && (first == ' ' || (rules_.any_prefix && !is_line_end(first))))
    return run_end(text, next.end, letter);
  if (next.kind == number && first == ' ' && rules_.digits == 0) return run_end(text, next.end, number);
  if (here.kind == other || (first == ' ' && next.kind == other)) {
    size_t end = run_end(text, here.end, other);
    if (rules_.line_ends)
      while (end < text.size() && is_line_end(text[end])) ++end;
    return end;
  }
  return white_space_end(text, begin);
}

}  // namespace sisa::data
