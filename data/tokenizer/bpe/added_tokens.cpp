#include "data/tokenizer/bpe/added_tokens.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "common/error.h"
#include "data/tokenizer/bpe/file_part.h"
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

std::vector<AddedToken> read_added_tokens(const common::JsonPart& part,
                                          const std::unordered_map<std::string, uint32_t>& vocabulary) {
  if (part.is_null()) return {};
  std::unordered_set<uint32_t> taken;
  for (const auto& [text, id] : vocabulary) taken.insert(id);
  std::vector<AddedToken> tokens;  // one for each text
  std::unordered_map<std::string, size_t> by_text;
  uint32_t next = static_cast<uint32_t>(vocabulary.size());
  for (const common::JsonPart& item : part.items()) {
    expect_keys(item, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    AddedToken token{.id = 0,
                     .content = item.at("content").text(),
                     .special = item.at("special").flag(false),
                     .single_word = item.at("single_word").flag(false),
                     .left_strip = item.at("lstrip").flag(false),
                     .right_strip = item.at("rstrip").flag(false),
                     .normalized = item.at("normalized").flag(true)};
    if (token.content.empty()) continue;  // the package passes over it, too
    if (const auto known = by_text.find(token.content); known != by_text.end()) {
      AddedToken& first = tokens[known->second];
      if (first.normalized != token.normalized)
        item.refuse(
            "and an entry before it are of the same text, one of them normalized and the other not. Remove "
            "one");
      token.id = first.id;
      token.special |= first.special;
      first = std::move(token);  // the last one counts
      continue;
    }
    if (const auto known = vocabulary.find(token.content); known != vocabulary.end()) {
      token.id = known->second;
    } else {
      if (!taken.insert(next).second)
        item.refuse(
            "is not in model.vocab and so has the next number after its {} tokens, {}, which a token of the "
            "vocabulary has. Number the vocabulary without gaps, or put '{}' into it",
            vocabulary.size(), next, token.content);
      token.id = next++;
    }
    by_text[token.content] = tokens.size();
    tokens.push_back(std::move(token));
  }
  std::stable_partition(tokens.begin(), tokens.end(), [](const AddedToken& token) { return token.special; });
  return tokens;
}

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
