#include "data/prepare/json_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "data/tokenizer/utf8.h"

namespace sisa::data {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_first_byte(char c) {  // of a character of UTF-8
  return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

// Whether one of eight bytes cannot stand in a string as it is: '"', '\\' or a control character.
bool has_special(uint64_t eight) {
  constexpr uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
  const auto has_zero = [](uint64_t x) { return (x - ones) & ~x & highs; };
  const uint64_t control = (eight - 0x20 * ones) & ~eight & highs;
  return (control | has_zero(eight ^ ('"' * ones)) | has_zero(eight ^ ('\\' * ones))) != 0;
}

// The character at the start of `text`, for messages.
std::string shown(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  if (first == 0) return "a NUL byte";
  if (first < 0x20 || first == 0x7F) return fmt::format("the control character 0x{:02x}", first);
  size_t end = 1;
  while (end < text.size() && !is_first_byte(text[end])) ++end;
  return fmt::format("'{}'", text.substr(0, end));
}

// What stands where a value of JSON is expected, if it is something that other programs write there.
std::string known_mistake(std::string_view text) {
  for (const std::string_view word : {"NaN", "Infinity", "-Infinity"})
    if (text.starts_with(word))
      return fmt::format("{} is no value of JSON, although Python's json.dumps writes it", word);
  for (const std::string_view word : {"None", "True", "False"})
    if (text.starts_with(word)) return fmt::format("{} is Python's and no value of JSON", word);
  if (text.starts_with('\'')) return "names and texts of JSON stand between double quotes, not single ones";
  return "";
}

// Scans JSON from left to right. Each function consumes what its name says and returns false if something
// else stands there; the first one that does so says why.
class Scanner {
 public:
  explicit Scanner(std::string_view line) : begin_(line.data()), at_(begin_), end_(begin_ + line.size()) {}

  // An object with white space around it and nothing else. Its field `text` goes to `text` unless that is
  // null.
  bool line(std::string* text) {
    spaces();
    if (at_ < end_ && *at_ != '{') return fail(beginning());
    if (!object(text, 0)) return false;
    spaces();
    if (at_ < end_) return fail(following(), LineProblem::Kind::more);
    if (!text || found_) return true;
    at_ = begin_, spaces();
    return fail("the object has no field 'text'", LineProblem::Kind::no_text);
  }
  // Any value, with white space around it.
  bool value_alone() {
    return value(0) && (spaces(), at_ == end_ || fail(following(), LineProblem::Kind::more));
  }
  bool is_string() { return spaces(), string(nullptr) && (spaces(), at_ == end_); }

  LineProblem problem() const {
    const auto characters = std::count_if(begin_, failed_at_, is_first_byte);
    return {kind_, static_cast<size_t>(characters) + 1, cause_};
  }

 private:
  static constexpr int most_levels = 512;

  bool fail_at(const char* at, std::string cause, LineProblem::Kind kind = LineProblem::Kind::wrong) {
    failed_at_ = at;
    kind_ = kind;
    cause_ = std::move(cause);
    return false;
  }
  bool fail(std::string cause, LineProblem::Kind kind = LineProblem::Kind::wrong) {
    return fail_at(at_, std::move(cause), kind);
  }
  bool fail_expecting(std::string_view expected) {
    if (at_ == end_) return fail("the line ends within its object", LineProblem::Kind::unfinished);
    return fail(fmt::format("{} stands where {} is expected", shown(rest()), expected));
  }
  std::string_view rest() const { return {at_, static_cast<size_t>(end_ - at_)}; }
  std::string beginning() const {
    switch (*at_) {
      case '[':
        return "the line holds an array and no object";
      case '"':
        return "the line holds a string and no object";
      default:
        return fmt::format("{} stands where an object should begin", shown(rest()));
    }
  }
  std::string following() const {
    if (*at_ == '{' || *at_ == '[' || *at_ == '"') return "another value follows the object on the same line";
    return fmt::format("{} follows the object", *at_ == ',' ? "a comma" : shown(rest()));
  }

  void spaces() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r' || *at_ == '\n')) ++at_;
  }
  bool take(char c) {
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  bool word(std::string_view word) {
    if (rest().substr(0, word.size()) == word) return at_ += word.size(), true;
    if (word.starts_with(rest())) at_ = end_;
    return fail_expecting("a value");
  }
  bool number() {
    const char* const digit = at_ + (at_ < end_ && *at_ == '-');
    if (digit == end_ || !is_digit(*digit)) {
      if (const std::string mistake = known_mistake(rest()); !mistake.empty()) return fail(mistake);
      at_ = digit;
      return fail_expecting("a value");
    }
    at_ = digit;
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      return digits();
    }
    return true;
  }
  bool digits() {
    const char* begin = at_;
    while (at_ < end_ && is_digit(*at_)) ++at_;
    return at_ > begin || fail_expecting("a digit");
  }
  // Consumes the characters up to the next special one.
  std::string_view plain() {
    const char* begin = at_;
    uint64_t eight = 0;
    for (; end_ - at_ >= 8; at_ += 8) {
      std::memcpy(&eight, at_, 8);
      if (has_special(eight)) break;
    }
    while (at_ < end_ && *at_ != '"' && *at_ != '\\' && static_cast<unsigned char>(*at_) >= 0x20) ++at_;
    return {begin, static_cast<size_t>(at_ - begin)};
  }
  // `name` is valid until the next call.
  bool name(std::string_view& name) {
    const char* begin = at_;
    if (!take('"')) {
      const std::string mistake = known_mistake(rest().substr(0, 1));
      return mistake.empty() ? fail_expecting("a name in double quotes") : fail(mistake);
    }
    name = plain();
    if (take('"')) return true;
    at_ = begin;
    if (!string(&name_)) return false;
    name = name_;
    return true;
  }
  // `out` may be null here and below; the content is then dropped.
  bool string(std::string* out) {
    if (!take('"')) return fail_expecting("a string");
    if (out) out->clear();
    while (true) {
      const std::string_view part = plain();
      if (out) out->append(part);
      if (take('"')) return true;
      if (at_ == end_) return fail_expecting("the end of a string");
      if (*at_ != '\\')
        return fail(fmt::format("{} stands in a string, where JSON writes \\u{:04x}", shown(rest()),
                                static_cast<unsigned char>(*at_)));
      ++at_;
      if (!escape(out)) return false;
    }
  }
  bool escape(std::string* out) {
    const char* const begin = at_ - 1;
    if (at_ == end_) return fail_expecting("an escape");
    constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char letter = *at_++;
    if (const size_t i = letters.find(letter); i != std::string_view::npos) {
      if (out) *out += meanings[i];
      return true;
    }
    if (letter != 'u')
      return fail_at(begin, fmt::format("a backslash and {} are no escape of JSON",
                                        shown({at_ - 1, static_cast<size_t>(end_ - at_ + 1)})));
    uint32_t code = 0, low = 0;
    if (!unit(code)) return false;
    const auto lone = [&] {
      return fail_at(begin, fmt::format("\\u{:04x} is half of a surrogate pair whose other half is missing, "
                                        "and stands for no character",
                                        code));
    };
    if (code >= 0xDC00 && code < 0xE000) return lone();  // the second half of a pair
    if (code >= 0xD800 && code < 0xDC00) {
      if (!rest().starts_with("\\u")) return lone();
      at_ += 2;
      if (!unit(low)) return false;
      if (low < 0xDC00 || low >= 0xE000) return lone();
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (out) append_utf8(code, *out);
    return true;
  }
  // Four hexadecimal digits.
  bool unit(uint32_t& code) {
    for (int i = 0; i < 4; ++i, ++at_) {
      const char lower = static_cast<char>(at_ == end_ ? 0 : *at_ | 0x20);
      if (at_ == end_ || (!is_digit(*at_) && (lower < 'a' || lower > 'f')))
        return fail_expecting("a hexadecimal digit");
      code = code << 4 | static_cast<uint32_t>(is_digit(*at_) ? *at_ - '0' : lower - 'a' + 10);
    }
    return true;
  }
  bool value(int depth) {
    spaces();
    if (at_ == end_) return fail_expecting("a value");
    switch (*at_) {
      case '"':
        return string(nullptr);
      case '{':
        return object(nullptr, depth);
      case '[':
        return array(depth);
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      default:
        return number();
    }
  }
  bool descend(int depth) {
    return depth < most_levels ||
           fail(fmt::format("values are nested more than {} levels deep", most_levels));
  }
  bool array(int depth) {
    if (!descend(depth) || !take('[')) return false;
    spaces();
    if (take(']')) return true;
    while (true) {
      if (!value(depth + 1)) return false;
      spaces();
      if (take(']')) return true;
      if (!take(',')) return fail_expecting("a comma or the end of the list");
    }
  }
  // Unless `text` is null, the object's field `text` must be a string and goes there.
  bool object(std::string* text, int depth) {
    if (!descend(depth)) return false;
    if (!take('{')) return fail_expecting("an object");
    spaces();
    if (take('}')) return true;
    while (true) {
      std::string_view key;
      if (spaces(), !name(key)) return false;
      const bool wanted = text && key == "text";
      if (spaces(), !take(':')) return fail_expecting("a colon");
      if (spaces(), wanted && at_ < end_ && *at_ != '"') {
        const char* const begin = at_;
        if (!value(depth + 1)) return false;
        return fail_at(begin, fmt::format("the field 'text' is {} and no string",
                                          shortened({begin, static_cast<size_t>(at_ - begin)})));
      }
      if (wanted) {
        if (!string(text)) return false;
        found_ = true;
      } else if (!value(depth + 1)) {
        return false;
      }
      if (spaces(), take('}')) return true;
      if (!take(',')) return fail_expecting("a comma or the end of the object");
    }
  }
  static std::string shortened(std::string_view value) {
    if (value.front() == '{') return "an object";
    if (value.front() == '[') return "a list";
    return std::string(value.substr(0, 20));  // a number or a word
  }

  const char *begin_, *at_, *end_;
  bool found_ = false;  // whether there was a field `text`
  std::string name_;    // a name with escapes
  const char* failed_at_ = nullptr;
  LineProblem::Kind kind_ = LineProblem::Kind::wrong;
  std::string cause_;
};

std::string_view without_mark(std::string_view line) {
  if (line.starts_with(byte_order_mark)) line.remove_prefix(byte_order_mark.size());
  return line;
}

// The names of an object's fields, for a message.
std::string fields(std::string_view line) {
  constexpr size_t most = 8;
  std::string names;
  const auto object = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  size_t count = 0;
  for (auto field = object.begin(); object.is_object() && field != object.end() && count <= most;
       ++field, ++count)
    names += count == most ? ", …" : fmt::format("{}'{}'", count == 0 ? "" : ", ", field.key());
  return names.empty() ? "no field at all" : names;
}

}  // namespace

std::string LineProblem::place_and_cause() const {
  return fmt::format("column {}: {}", column, cause);
}

std::optional<LineProblem> read_text_field(std::string_view line, std::string& text) {
  line = without_mark(line);
  Scanner scanner(line);
  const size_t wrong = find_invalid_utf8(line);
  if (wrong == std::string_view::npos && scanner.line(&text)) return {};
  if (wrong != std::string_view::npos) {
    const auto before = line.substr(0, wrong);
    return LineProblem{
        .column = 1 + static_cast<size_t>(std::count_if(before.begin(), before.end(), is_first_byte)),
        .cause = fmt::format("the byte 0x{:02x} is no UTF-8", static_cast<unsigned char>(line[wrong]))};
  }
  LineProblem problem = scanner.problem();
  if (problem.kind == LineProblem::Kind::no_text) problem.cause += ", but " + fields(line);
  return problem;
}

bool is_json_object(std::string_view line) {
  return Scanner(line).line(nullptr);
}

bool is_json_string(std::string_view line) {
  return Scanner(line).is_string();
}

bool may_begin_json(std::string_view line) {
  Scanner scanner(line);
  return scanner.value_alone() || scanner.problem().kind == LineProblem::Kind::unfinished;
}

}  // namespace sisa::data
