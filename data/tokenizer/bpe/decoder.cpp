#include "data/tokenizer/bpe/decoder.h"

#include <array>
#include <utility>

#include "common/error.h"
#include "data/tokenizer/bpe/file_part.h"
#include "data/tokenizer/bpe/pre_tokenizer.h"
#include "data/tokenizer/unicode.h"

namespace sisa::data::bpe {
namespace {

using Part = common::JsonPart;

// The byte for which a character of a byte-level token stands, or -1.
int byte_of(char32_t c) {
  static const auto bytes = [] {
    std::array<int, 0x200> table;
    table.fill(-1);
    const auto characters = byte_characters();
    for (size_t byte = 0; byte < characters.size(); ++byte) table[characters[byte]] = static_cast<int>(byte);
    return table;
  }();
  return c < bytes.size() ? bytes[c] : -1;
}

// The byte of a token such as <0x0A>, or -1.
int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

std::string_view strip(std::string_view text, const Decoder::Strip& strip) {
  for (size_t i = 0; i < strip.start && text.starts_with(strip.content); ++i)
    text.remove_prefix(strip.content.size());
  for (size_t i = 0; i < strip.stop && text.ends_with(strip.content); ++i)
    text.remove_suffix(strip.content.size());
  return text;
}

void read_steps(const Part& part, Decoder& decoder, bool& fused) {
  const std::string type = part.at("type").text();
  if (type == "Sequence") {
    for (const Part& item : part.at("decoders").items()) read_steps(item, decoder, fused);
  } else if (type == "ByteLevel") {
    decoder.of_tokens.push_back(Decoder::ByteLevel{});
  } else if (type == "ByteFallback") {
    decoder.of_tokens.push_back(Decoder::ByteFallback{});
  } else if (type == "Fuse") {
    fused = true;
  } else if (type == "Replace") {
    decoder.of_tokens.push_back(
        Decoder::Replace{read_pattern(part.at("pattern")), part.at("content").text()});
  } else if (type == "Strip") {
    const std::string content = part.at("content").text();
    if (content.empty()) part.at("content").refuse("is empty, where a character is expected");
    const auto number = [&](const char* key) { return static_cast<size_t>(part.at(key).integer(0, 1000)); };
    Decoder::Strip step{content, number("start"), number("stop")};
    if (fused)
      decoder.of_texts.push_back(std::move(step));
    else
      decoder.of_tokens.push_back(std::move(step));
  } else if (type == "Metaspace") {
    const std::string replacement = part.at("replacement").text();
    if (replacement.empty()) part.at("replacement").refuse("is empty, where a character is expected");
    decoder.of_tokens.push_back(Decoder::Replace{Pattern::of_text(replacement), " "});
    const bool prefix = part.at("add_prefix_space").flag(true) &&
                        (!part.has("prepend_scheme") || part.at("prepend_scheme").text() != "never");
    if (prefix) decoder.of_texts.push_back({" ", 1, 0});
  } else if (type == "BPEDecoder") {
    const std::string suffix = part.has("suffix") ? part.at("suffix").text() : "</w>";
    if (!suffix.empty()) decoder.of_tokens.push_back(Decoder::Replace{Pattern::of_text(suffix), " "});
    decoder.of_texts.push_back({" ", 0, 1});
  } else {
    part.at("type").refuse(
        "is {}, which cannot be used; ByteLevel, ByteFallback, Replace, Fuse, Strip, Metaspace, BPEDecoder "
        "and a "
        "Sequence of them can. Ids do not depend on it: set the decoder to one of those",
        type);
  }
}

}  // namespace

std::optional<std::string> bytes_of_token(const std::string& token) {
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    const auto [code, end] = character_at(token, i);
    const int byte = byte_of(code);
    if (byte < 0) return {};
    bytes.push_back(static_cast<char>(byte));
    i = end;
  }
  return bytes;
}

std::string Decoder::token_text(const std::string& token) const {
  std::string text = token;
  for (const Step& step : of_tokens) {
    if (std::holds_alternative<ByteLevel>(step)) {
      text = bytes_of_token(text).value_or(text);
    } else if (std::holds_alternative<ByteFallback>(step)) {
      // Bytes end here: what follows would read them as characters.
      if (const int byte = fallback_byte(text); byte >= 0) return std::string(1, static_cast<char>(byte));
    } else if (const auto* replace = std::get_if<Replace>(&step)) {
      Pattern::Memory memory;
      std::string next;
      size_t done = 0;
      for_each_match(replace->pattern, text, memory, [&](size_t begin, size_t end) {
        next.append(text, done, begin - done).append(replace->content);
        done = end;
      });
      text = next.append(text, done);
    } else {
      text = strip(text, std::get<Strip>(step));
    }
  }
  return text;
}

std::string_view Decoder::stripped(std::string_view text) const {
  for (const Strip& step : of_texts) text = strip(text, step);
  return text;
}

Decoder read_decoder(const common::JsonPart& part, bool byte_level) {
  Decoder decoder;
  bool fused = false;
  if (!part.is_null())
    read_steps(part, decoder, fused);
  else if (byte_level)
    decoder.of_tokens.push_back(Decoder::ByteLevel{});
  return decoder;
}

}  // namespace sisa::data::bpe
