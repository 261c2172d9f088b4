#include "data/tokenizer/pattern_parser.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>

#include "common/error.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data {
namespace {

using Kind = PatternNode::Kind;
using Mode = PatternNode::Mode;

constexpr int deepest = 50;            // groups and classes within one another
constexpr uint32_t most_times = 1000;  // of a counted repetition, which is written out

bool is_ascii_letter(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

CodePointSet property_of(std::string_view name) {
  return *find_property(name);
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  PatternNode parse() {
    PatternNode whole = choice();
    if (!done()) refuse("a ) without its (");
    return whole;
  }

 private:
  template <typename... Arguments>
  [[noreturn]] void refuse(fmt::format_string<Arguments...> what, Arguments&&... arguments) const {
    throw Error("has {} at byte {}", fmt::format(what, std::forward<Arguments>(arguments)...), at_);
  }
  bool done() const { return at_ >= text_.size(); }
  bool sees(std::string_view next) const { return text_.substr(at_).starts_with(next); }
  bool take(std::string_view next) {
    if (!sees(next)) return false;
    at_ += next.size();
    return true;
  }
  char32_t character() {
    if (done()) refuse("nothing where a character is expected,");
    const auto [code, end] = character_at(text_, at_);
    at_ = end;
    return code;
  }

  static PatternNode of_set(CodePointSet set) {
    return {.kind = Kind::set, .set = std::make_shared<const CodePointSet>(std::move(set))};
  }
  static PatternNode empty() { return {.kind = Kind::sequence}; }

  PatternNode choice() {
    if (++depth_ > deepest) refuse("groups nested more than {} levels deep", deepest);
    std::vector<PatternNode> parts;
    do parts.push_back(sequence());
    while (take("|"));
    --depth_;
    if (parts.size() == 1) return std::move(parts[0]);
    return {.kind = Kind::choice, .parts = std::move(parts)};
  }

  PatternNode sequence() {
    PatternNode all = empty();
    char32_t before = 0;  // the last literal letter, if case does not count
    while (!done() && !sees("|") && !sees(")")) {
      const size_t begin = at_;
      std::optional<PatternNode> next = atom();
      if (!next) continue;  // a comment
      if (ignore_case_) before = refuse_long_folds(before, begin);
      all.parts.push_back(repeated(std::move(*next)));
    }
    return all;
  }

  // Where case does not count, Oniguruma also matches single characters for two letters: ß for ss, ﬁ for fi.
  char32_t refuse_long_folds(char32_t before, size_t begin) const {
    const char32_t now = at_ == begin + 1 && is_ascii_letter(static_cast<unsigned char>(text_[begin]))
                             ? static_cast<unsigned char>(text_[begin]) | 0x20
                             : 0;
    for (const char* pair : {"ss", "st", "ff", "fi", "fl"})
      if (before == static_cast<char32_t>(pair[0]) && now == static_cast<char32_t>(pair[1]))
        refuse("the letters {} without regard to case, for which there are single characters,", pair);
    return now;
  }

  PatternNode repeated(PatternNode node) {
    while (true) {
      uint32_t least = 0, most = PatternNode::unlimited;
      Mode mode = Mode::greedy;
      const size_t begin = at_;
      if (take("*")) {
      } else if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (sees("{")) {
        if (!interval(least, most)) return node;
        // In Oniguruma a + behind {n,m} repeats all of it, and a ? behind {n} makes it optional.
        if (least != most && take("?")) mode = Mode::lazy;
        node = repeat(std::move(node), least, most, mode, begin);
        continue;
      } else {
        return node;
      }
      if (take("?"))
        mode = Mode::lazy;
      else if (take("+"))
        mode = Mode::possessive;
      node = repeat(std::move(node), least, most, mode, begin);
    }
  }

  PatternNode repeat(PatternNode node, uint32_t least, uint32_t most, Mode mode, size_t begin) {
    const auto written_out = [](uint32_t times) { return times == PatternNode::unlimited ? 0 : times; };
    if (written_out(least) > most_times || written_out(most) > most_times) {
      at_ = begin;
      refuse("a repetition of more than {} times", most_times);
    }
    PatternNode result{.kind = Kind::repeat, .least = least, .most = most, .mode = mode};
    result.parts.push_back(std::move(node));
    return result;
  }

  // {n}, {n,}, {,m}, {n,m}. Anything else is text that begins with a brace.
  bool interval(uint32_t& least, uint32_t& most) {
    const size_t begin = at_;
    const auto number = [&](uint32_t otherwise) {
      if (done() || text_[at_] < '0' || text_[at_] > '9') return otherwise;
      uint32_t value = 0;
      for (; !done() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
        value = std::min<uint32_t>(value * 10 + static_cast<uint32_t>(text_[at_] - '0'), 1'000'000);
      return value;
    };
    take("{");
    constexpr uint32_t absent = PatternNode::unlimited - 1;
    const uint32_t first = number(absent);
    const bool comma = take(",");
    const uint32_t second = comma ? number(absent) : first;
    if (!take("}") || (first == absent && second == absent)) {
      at_ = begin;
      return false;
    }
    least = first == absent ? 0 : first;
    most = second == absent ? PatternNode::unlimited : second;
    if (least > most) refuse("a repetition whose least number is the larger one,");
    return true;
  }

  std::optional<PatternNode> atom() {
    const size_t begin = at_;
    if (take("(")) return group(begin);
    if (take("[")) return of_set(character_class());
    if (take(".")) {
      CodePointSet set;
      set.add(U'\n');
      set.invert();
      return of_set(std::move(set));
    }
    if (take("^")) return PatternNode{.kind = Kind::line_begin};
    if (take("$")) return PatternNode{.kind = Kind::line_end};
    if (sees("*") || sees("+") || sees("?")) refuse("a {} with nothing before it to repeat", text_[at_]);
    if (take("\\")) return escape();
    const char32_t c = character();
    return of_set(one(c));
  }

  std::optional<PatternNode> group(size_t begin) {
    const auto closed = [&](PatternNode node) {
      if (!take(")")) {
        at_ = begin;
        refuse("a ( without its )");
      }
      return node;
    };
    const auto around = [&](Kind kind, bool negative) {
      PatternNode node{.kind = kind, .negative = negative};
      node.parts.push_back(choice());
      return closed(std::move(node));
    };
    if (take("?#")) {
      while (!done() && !sees(")")) character();
      closed(empty());
      return {};
    }
    if (take("?:")) return closed(choice());
    if (take("?=")) return around(Kind::look_ahead, false);
    if (take("?!")) return around(Kind::look_ahead, true);
    if (take("?<=")) return around(Kind::look_behind, false);
    if (take("?<!")) return around(Kind::look_behind, true);
    if (take("?>")) return around(Kind::atomic, false);
    if (!take("?")) return closed(choice());
    const bool before = ignore_case_;
    if (take("i"))
      ignore_case_ = true;
    else if (take("-i"))
      ignore_case_ = false;
    else {
      at_ = begin;
      refuse("a group of another kind than (…), (?:…), (?i:…), (?=…), (?!…), (?<=…), (?<!…) and (?>…)");
    }
    // (?i) is in force up to the end of the group around it, and what follows is one part, with its choices.
    const bool rest = sees(")");
    if (!rest && !take(":")) {
      at_ = begin;
      refuse("options of which only i can be used,");
    }
    if (rest) take(")");
    PatternNode node = choice();
    ignore_case_ = before;
    return rest ? std::move(node) : closed(std::move(node));
  }

  // Behind a backslash, outside of a class.
  PatternNode escape() {
    if (take("A")) return {.kind = Kind::text_begin};
    if (take("z")) return {.kind = Kind::text_end};
    if (take("Z")) return {.kind = Kind::text_end_or_last_line_end};
    for (const bool negative : {false, true})
      if (take(negative ? "B" : "b")) {
        PatternNode node = of_set(property_of("word"));
        node.kind = Kind::word_boundary;
        node.negative = negative;
        return node;
      }
    if (std::optional<CodePointSet> set = escaped_set()) return of_set(std::move(*set));
    return of_set(one(escaped_character()));
  }

  // \d, \p{…} and their like; nothing if it is a single character.
  std::optional<CodePointSet> escaped_set() {
    CodePointSet set;
    bool inverted = false;
    const auto is = [&](std::string_view letter, std::string_view capital) {
      if (take(letter)) return true;
      return inverted = take(capital);
    };
    if (is("d", "D")) {
      set = property_of("digit");
    } else if (is("w", "W")) {
      set = property_of("word");
    } else if (is("s", "S")) {
      set = property_of("space");
    } else if (is("h", "H")) {
      set.add('0', '9'), set.add('a', 'f'), set.add('A', 'F');
    } else if (is("p{", "P{")) {
      const size_t end = text_.find('}', at_);
      if (end == std::string_view::npos) refuse("a {{ without its }}");
      std::string_view name = text_.substr(at_, end - at_);
      if (name.starts_with('^')) name.remove_prefix(1), inverted = !inverted;
      std::optional<CodePointSet> found = find_property(name);
      if (!found) refuse("the property {}, of which there is no table,", name);
      set = std::move(*found);
      at_ = end + 1;
      if (ignore_case_ && !closed_under_case(set))
        refuse("a property that depends on case in a group without case,");
    } else {
      return {};
    }
    if (inverted) set.invert();
    return set;
  }

  static bool closed_under_case(const CodePointSet& set) {
    for (const char* name : {"L", "N", "P", "S", "Z"})
      if (set.within(property_of(name)) && property_of(name).within(set)) return true;
    return false;
  }

  char32_t escaped_character() {
    constexpr std::pair<char, char32_t> controls[] = {{'n', '\n'}, {'r', '\r'}, {'t', '\t'}, {'f', '\f'},
                                                      {'v', '\v'}, {'a', '\a'}, {'e', 0x1b}};
    if (done()) refuse("nothing behind its last backslash,");
    for (const auto& [name, code] : controls)
      if (take({&name, 1})) return code;
    if (take("x{")) {
      const char32_t code = hexadecimal(1, 8);
      if (!take("}")) refuse("a {{ without its }}");
      return code;
    }
    if (take("x")) return hexadecimal(2, 2);
    if (take("u")) return hexadecimal(4, 4);
    const char next = text_[at_];
    if ((next >= '0' && next <= '9') || is_ascii_letter(static_cast<unsigned char>(next)))
      refuse("\\{}, which cannot be used,", next);
    return character();
  }

  char32_t hexadecimal(size_t least, size_t most) {
    char32_t code = 0;
    size_t digits = 0;
    for (; digits < most && !done(); ++digits, ++at_) {
      const char c = text_[at_];
      if (c >= '0' && c <= '9')
        code = code * 16 + static_cast<char32_t>(c - '0');
      else if (c >= 'a' && c <= 'f')
        code = code * 16 + static_cast<char32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F')
        code = code * 16 + static_cast<char32_t>(c - 'A' + 10);
      else
        break;
    }
    if (digits < least || code >= CodePointSet::end) refuse("no code point");
    if (least == 2 && code >= 0x80) refuse("a single byte of a character, where \\x{{…}} is expected,");
    return code;
  }

  CodePointSet one(char32_t c) const {
    CodePointSet set;
    set.add(c);
    if (ignore_case_) add_cases(set);
    return set;
  }

  // Adds the other case of ASCII letters, with the two characters beyond ASCII that count as cases of k and s.
  void add_cases(CodePointSet& set) const {
    CodePointSet other = property_of("L");
    CodePointSet marks = property_of("M");  // U+0345 is a case of the Greek iota
    other.add(marks);
    CodePointSet ascii;
    ascii.add(0, 0x7f);
    ascii.invert();
    other.keep(ascii);
    CodePointSet beyond = set;
    beyond.keep(other);
    if (beyond != CodePointSet() && !other.within(set))
      refuse("letters beyond ASCII where case does not count,");
    for (char32_t c = 'a'; c <= 'z'; ++c) {
      if (!set.contains(c) && !set.contains(c - 32)) continue;
      set.add(c), set.add(c - 32);
      if (c == 'k') set.add(U'\u212a');
      if (c == 's') set.add(U'\u017f');
    }
  }

  // Behind the [ of a class, up to its ]. Cases are added to the class as a whole, and not to those within it.
  CodePointSet character_class(bool nested = false) {
    const size_t begin = at_;
    if (++depth_ > deepest) refuse("classes nested more than {} levels deep", deepest);
    const bool inverted = take("^");
    CodePointSet all, part;
    bool first = true, several = false;
    const auto finish = [&] {  // a part of an intersection
      if (several)
        all.keep(part);
      else
        all = std::move(part);
      part = CodePointSet();
      several = true;
    };
    for (;; first = false) {
      if (done()) {
        at_ = begin;
        refuse("a [ without its ]");
      }
      if (!first && take("]")) break;
      if (sees("[:")) refuse("a POSIX class, which cannot be used; write \\p{{…}},");
      if (take("[")) {
        part.add(character_class(/*nested=*/true));
      } else if (take("&&")) {
        finish();
      } else {
        class_item(part);
      }
    }
    finish();
    if (ignore_case_ && !nested) add_cases(all);
    if (inverted) all.invert();
    --depth_;
    return all;
  }

  void class_item(CodePointSet& set) {
    const auto single = [&]() -> std::optional<char32_t> {
      if (!take("\\")) return character();
      if (std::optional<CodePointSet> escaped = escaped_set()) {
        set.add(*escaped);
        return {};
      }
      return take("b") ? U'\b' : escaped_character();
    };
    const std::optional<char32_t> low = single();
    const bool range = sees("-") && !sees("-]");
    // Oniguruma refuses a class before the dash, too, and drops characters if one is behind it.
    if (range && (!low || sees("-["))) refuse("a range that begins or ends with a class,");
    if (!low) return;
    if (!range) return set.add(*low);
    const size_t dash = at_;
    take("-");
    const std::optional<char32_t> high = single();
    if (!high) {
      at_ = dash;
      refuse("a range that begins or ends with a class,");
    }
    if (*high < *low) {
      at_ = dash;
      refuse("a range whose end lies before its beginning");
    }
    set.add(*low, *high);
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  bool ignore_case_ = false;
};

}  // namespace

PatternNode parse_pattern(std::string_view expression) {
  if (find_invalid_utf8(expression) != std::string_view::npos) throw Error("is no UTF-8");
  return Parser(expression).parse();
}

}  // namespace sisa::data
