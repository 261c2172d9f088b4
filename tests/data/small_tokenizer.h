// A tokenizer.json of 256 bytes and a few merges, and variations of it.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/tokenizer/utf8.h"

namespace sisa::data {

// The character that stands for each byte in GPT-2's vocabulary: printable characters stand for themselves,
// and the other bytes are U+0100 and following.
inline std::string byte_token(int byte) {
  const auto printable = [](int b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  };
  char32_t code = static_cast<char32_t>(byte);
  if (!printable(byte)) {
    code = 0x100;
    for (int b = 0; b < byte; ++b) code += !printable(b);
  }
  std::string token;
  append_utf8(code, token);
  return token;
}

// Ids 0 to 255: the bytes; then h+e, he+l, l+o, hel+lo, Ġ+hello; then <|endoftext|>, 261.
inline nlohmann::json small_tokenizer() {
  nlohmann::json vocab, merges = nlohmann::json::array();
  for (int byte = 0; byte < 256; ++byte) vocab[byte_token(byte)] = byte;
  int next = 256;
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{
           {"h", "e"}, {"he", "l"}, {"l", "o"}, {"hel", "lo"}, {byte_token(' '), "hello"}}) {
    vocab[left + right] = next++;
    merges.push_back(left + " " + right);
  }
  return {{"version", "1.0"},
          {"added_tokens",
           {{{"id", next}, {"content", "<|endoftext|>"}, {"special", true}, {"normalized", false}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"dropout", nullptr}, {"vocab", vocab}, {"merges", merges}}}};
}

}  // namespace sisa::data
