#include "data/tokenizer/bpe/added_tokens.h"

#include <algorithm>
#include <utility>

#include "data/tokenizer/unicode.h"

namespace sisa::data::bpe {
namespace {

unsigned char byte_of(char c) {
  return static_cast<unsigned char>(c);
}

bool is_word(char32_t c) {
  return character_classes(c) & word;
}
bool is_white_space(char32_t c) {
  return character_classes(c) & white_space;
}

// The start of the white space before `end`, and the end of the white space behind `begin`.
size_t before_white_space(std::string_view text, size_t end) {
  while (end > 0) {
    const auto [code, begin] = character_before(text, end);
    if (!is_white_space(code)) break;
    end = begin;
  }
  return end;
}
size_t behind_white_space(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const auto [code, end] = character_at(text, begin);
    if (!is_white_space(code)) break;
    begin = end;
  }
  return begin;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), by_first_byte_(256) {
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    const auto first_a = byte_of(a.content[0]), first_b = byte_of(b.content[0]);
    return first_a != first_b ? first_a < first_b : a.content.size() > b.content.size();
  });
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    auto& [begin, end] = by_first_byte_[byte_of(content[0])];
    if (begin == end) begin = i;
    end = i + 1;
    for (unsigned second = 0; second < 256; ++second)
      if (content.size() == 1 || second == byte_of(content[1]))
        first_bytes_.set(size_t{byte_of(content[0])} << 8 | second);
  }
}

bool AddedTokens::next(std::string_view all, size_t& from, size_t done, Match& match) const {
  if (tokens_.empty()) return false;
  for (; from < all.size(); ++from) {
    const size_t second = from + 1 < all.size() ? byte_of(all[from + 1]) : 0;
    const size_t first = byte_of(all[from]);
    if (!first_bytes_[first << 8 | second] && from + 1 < all.size()) continue;
    const auto [begin, end] = by_first_byte_[first];
    for (size_t i = begin; i < end; ++i) {
      const AddedToken& token = tokens_[i];
      if (!all.substr(from).starts_with(token.content)) continue;
      match = {from, from + token.content.size(), token.id};
      from = match.end;
      if (token.single_word && ((match.begin > 0 && is_word(character_before(all, match.begin).code)) ||
                                (match.end < all.size() && is_word(character_at(all, match.end).code)))) {
        --from;  // so that the loop continues right behind the token
        break;
      }
      if (token.left_strip) match.begin = std::max(before_white_space(all, match.begin), done);
      if (token.right_strip) match.end = behind_white_space(all, match.end);
      return true;
    }
  }
  return false;
}

}  // namespace sisa::data::bpe
