#include "data/tokenizer/utf8.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace sisa::data {
namespace {

bool is_continuation(unsigned char byte) {
  return (byte & 0xC0) == 0x80;
}

// The length in bytes of the character at the start of `text`, which is not empty (RFC 3629, section 4). If
// no whole character stands there, the result is negative: minus the number of bytes that are the beginning
// of one, or -1.
int64_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) {  // 0, which continues no character, behind the end
    return i < text.size() ? static_cast<unsigned char>(text[i]) : static_cast<unsigned char>(0);
  };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return -1;
  const int64_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // The range of the second byte excludes overlong forms, surrogates and what is beyond U+10FFFF.
  const unsigned char least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < least || byte(1) > most) return -1;
  for (int64_t i = 2; i < length; ++i)
    if (!is_continuation(byte(static_cast<size_t>(i)))) return -i;
  return length;
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    uint64_t eight = 0;  // most text is ASCII: eight bytes at a time
    if (text.size() - i >= sizeof eight) {
      std::memcpy(&eight, text.data() + i, sizeof eight);
      if ((eight & 0x8080808080808080) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    const int64_t length = character_length(text.substr(i));
    if (length < 0) return i;
    i += static_cast<size_t>(length);
  }
  return std::string_view::npos;
}

size_t character_start(std::string_view text, size_t offset) {
  while (offset > 0 && offset < text.size() && is_continuation(static_cast<unsigned char>(text[offset])))
    --offset;
  return offset;
}

void append_utf8(char32_t c, std::string& out) {
  const auto add = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  const auto continuation = [&](int shift) { add(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | c >> 6), continuation(0);
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12), continuation(6), continuation(0);
  } else {
    add(0xF0 | c >> 18), continuation(12), continuation(6), continuation(0);
  }
}

std::string_view with_valid_utf8(std::string_view text, std::string& buffer) {
  size_t begin = find_invalid_utf8(text);
  if (begin == std::string_view::npos) return text;
  buffer.assign(text.substr(0, begin));
  while (begin < text.size()) {
    const int64_t length = character_length(text.substr(begin));
    if (length > 0)
      buffer.append(text.substr(begin, static_cast<size_t>(length)));
    else
      append_utf8(0xFFFD, buffer);
    begin += static_cast<size_t>(std::abs(length));
  }
  return buffer;
}

}  // namespace sisa::data
