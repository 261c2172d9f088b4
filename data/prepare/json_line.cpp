#include "data/prepare/json_line.h"

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/json.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Whether one of eight bytes cannot stand in a string as it is: '"', '\\' or a control character.
bool has_special(uint64_t eight) {
  constexpr uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
  const auto has_zero = [](uint64_t x) { return (x - ones) & ~x & highs; };
  const uint64_t control = (eight - 0x20 * ones) & ~eight & highs;
  return (control | has_zero(eight ^ ('"' * ones)) | has_zero(eight ^ ('\\' * ones))) != 0;
}

// Scans JSON from left to right. Each function consumes what its name says and returns false if something
// else stands there.
class Scanner {
 public:
  explicit Scanner(std::string_view line) : at_(line.data()), end_(line.data() + line.size()) {}

  bool line(std::string& text) { return object(&text, 0) && (spaces(), at_ == end_) && found_; }

 private:
  void spaces() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r' || *at_ == '\n')) ++at_;
  }
  bool take(char c) {
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  bool word(std::string_view word) {
    if (static_cast<size_t>(end_ - at_) < word.size() || std::memcmp(at_, word.data(), word.size()) != 0)
      return false;
    at_ += word.size();
    return true;
  }
  bool number() {
    const char* begin = at_;
    take('-');
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    // Long numbers are left to the general parser, which refuses numbers beyond a double's range.
    return at_ - begin <= 300 && (at_ == end_ || (*at_ != 'e' && *at_ != 'E'));
  }
  bool digits() {
    const char* begin = at_;
    while (at_ < end_ && is_digit(*at_)) ++at_;
    return at_ > begin;
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
  bool name(std::string_view& name) {
    if (!take('"')) return false;
    name = plain();
    return take('"');
  }
  // `out` may be null here and below; the content is then dropped.
  bool string(std::string* out) {
    if (!take('"')) return false;
    if (out) out->clear();
    while (true) {
      const std::string_view part = plain();
      if (out) out->append(part);
      if (take('"')) return true;
      if (!take('\\') || !escape(out)) return false;
    }
  }
  bool escape(std::string* out) {
    if (at_ == end_) return false;
    constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char letter = *at_++;
    if (const size_t i = letters.find(letter); i != std::string_view::npos) {
      if (out) *out += meanings[i];
      return true;
    }
    uint32_t code = 0, low = 0;
    if (letter != 'u' || !unit(code)) return false;
    if (code >= 0xDC00 && code < 0xE000) return false;  // the second half of a pair
    if (code >= 0xD800 && code < 0xDC00) {
      if (!word("\\u") || !unit(low) || low < 0xDC00 || low >= 0xE000) return false;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (out) append_utf8(code, *out);
    return true;
  }
  // Four hexadecimal digits.
  bool unit(uint32_t& code) {
    if (end_ - at_ < 4) return false;
    for (const char* last = at_ + 4; at_ < last; ++at_) {
      const char lower = static_cast<char>(*at_ | 0x20);
      if (!is_digit(*at_) && (lower < 'a' || lower > 'f')) return false;
      code = code << 4 | static_cast<uint32_t>(is_digit(*at_) ? *at_ - '0' : lower - 'a' + 10);
    }
    return true;
  }
  bool value(int depth) {
    spaces();
    if (at_ == end_) return false;
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
  bool array(int depth) {
    if (depth == 64 || !take('[')) return false;
    spaces();
    if (take(']')) return true;
    while (true) {
      if (!value(depth + 1)) return false;
      spaces();
      if (take(']')) return true;
      if (!take(',')) return false;
    }
  }
  // Unless `text` is null, the object's field `text` must be a string and goes there.
  bool object(std::string* text, int depth) {
    if (depth == 64 || (spaces(), !take('{'))) return false;
    spaces();
    if (take('}')) return true;
    while (true) {
      std::string_view key;
      if (spaces(), !name(key)) return false;
      if (spaces(), !take(':')) return false;
      if (text && key == "text") {
        if (spaces(), !string(text)) return false;
        found_ = true;
      } else if (!value(depth + 1)) {
        return false;
      }
      if (spaces(), take('}')) return true;
      if (!take(',')) return false;
    }
  }

  const char *at_, *end_;
  bool found_ = false;  // whether there was a field `text`
};

}  // namespace

bool read_text_field_quickly(std::string_view line, std::string& text) {
  return find_invalid_utf8(line) == std::string_view::npos && Scanner(line).line(text);
}

std::string read_text_field(std::string_view line, std::string& text) {
  if (read_text_field_quickly(line, text)) return "";
  if (const std::string problem =
          common::beyond_limits(line, {.levels = 512, .values = common::any_number_of_values});
      !problem.empty())
    return problem;
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return "is no valid JSON in UTF-8";
  if (!json.is_object()) return "is no JSON object";
  const auto field = json.find("text");
  if (field == json.end()) return "has no field 'text'";
  if (!field->is_string()) return "has a field 'text' that is no string";
  text = field->get<std::string>();
  return "";
}

}  // namespace sisa::data
