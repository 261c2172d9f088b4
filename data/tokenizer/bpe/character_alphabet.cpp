#include "data/tokenizer/bpe/character_alphabet.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "data/tokenizer/unicode.h"

namespace sisa::data::bpe {

CharacterAlphabet::CharacterAlphabet(const std::unordered_map<std::string, uint32_t>& vocabulary,
                                     CharacterRules rules)
    : rules_(std::move(rules)) {
  for (const bool first : {false, true})
    for (const bool last : {false, true}) {
      std::vector<uint32_t>& tokens = tokens_[first][last];
      const std::string_view prefix = first ? std::string_view() : rules_.prefix;
      const std::string_view suffix = last ? rules_.suffix : std::string_view();
      for (const auto& [token, id] : vocabulary) {
        std::string_view middle = token;
        if (middle.size() <= prefix.size() + suffix.size() || !middle.starts_with(prefix) ||
            !middle.ends_with(suffix))
          continue;
        middle = middle.substr(prefix.size(), middle.size() - prefix.size() - suffix.size());
        const auto [code, end] = character_at(middle, 0);
        if (end != middle.size()) continue;
        if (tokens.size() <= code) tokens.resize(code + 1, none);
        tokens[code] = id;
      }
    }
  for (size_t byte = 0; byte < bytes_.size(); ++byte) {
    const auto found = vocabulary.find(fmt::format("<0x{:02X}>", byte));
    bytes_[byte] = found == vocabulary.end() ? none : found->second;
  }
}

bool CharacterAlphabet::complete() const {
  const auto never_in_utf8 = [](size_t byte) { return byte == 0xc0 || byte == 0xc1 || byte >= 0xf5; };
  if (rules_.unknown) return true;
  if (!rules_.byte_fallback) return false;
  for (size_t byte = 0; byte < bytes_.size(); ++byte)
    if (bytes_[byte] == none && !never_in_utf8(byte)) return false;
  return true;
}

void CharacterAlphabet::append(std::string_view piece, std::vector<uint32_t>& ids) const {
  size_t unknown = 0;  // how many unknown tokens are to come before the next one that is in the vocabulary
  const auto flush = [&] {
    for (; unknown > 0; --unknown) ids.push_back(*rules_.unknown);
  };
  const auto fall_back = [&](std::string_view text) {
    const auto token = [&](char byte) { return bytes_[static_cast<unsigned char>(byte)]; };
    if (std::any_of(text.begin(), text.end(), [&](char byte) { return token(byte) == none; })) return false;
    for (const char byte : text) ids.push_back(token(byte));
    return true;
  };
  for (size_t at = 0; at < piece.size();) {
    const auto [code, end] = character_at(piece, at);
    const bool first = at == 0, last = end == piece.size();
    const std::vector<uint32_t>& tokens = tokens_[first][last];
    if (code < tokens.size() && tokens[code] != none) {
      flush();
      ids.push_back(tokens[code]);
    } else if (rules_.byte_fallback &&
               (rules_.prefix.empty() && rules_.suffix.empty()
                    ? fall_back(piece.substr(at, end - at))
                    : fall_back((first ? "" : rules_.prefix) + std::string(piece.substr(at, end - at)) +
                                (last ? rules_.suffix : "")))) {
      // The package keeps unknown characters back behind these bytes; so the order is that of its ids.
    } else if (rules_.unknown) {
      if (!rules_.fuse_unknown) flush();
      unknown = 1;
    }
    at = end;
  }
  flush();
}

}  // namespace sisa::data::bpe
