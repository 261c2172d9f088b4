// Tokens that are searched for in the text before it is split into pieces.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/json.h"

namespace sisa::data::bpe {

struct AddedToken {
  uint32_t id;
  std::string content;
  bool special = false;      // is searched for before those that are not
  bool single_word = false;  // only found where no word character is beside it
  bool left_strip = false;   // includes the white space before it
  bool right_strip = false;  // includes the white space behind it
  bool normalized = true;    // is normalised, and searched for in normalised text
};

// The list `added_tokens` of a tokenizer.json as the package takes it, which ignores `id`: a token has the number that
// the vocabulary gives it or else, in their order, the next free one. `vocabulary`: by their text. The list is in the
// order in which equal texts are searched for. Throws JsonError.
std::vector<AddedToken> read_added_tokens(const common::JsonPart& part,
                                          const std::unordered_map<std::string, uint32_t>& vocabulary);

// Finds the leftmost token of a set, and the longest one of those that begin there.
class AddedTokens {
 public:
  // No token's content may be empty. Of equal contents the first one counts.
  explicit AddedTokens(std::vector<AddedToken> tokens);
  struct Match {
    size_t begin, end;
    uint32_t id;
  };
  // Calls token(id) for each token and text(std::string_view) for the text between tokens, in order.
  template <typename Text, typename Token>
  void split(std::string_view all, const Text& text, const Token& token) const {
    size_t done = 0;
    Match match;
    for (size_t from = 0; next(all, from, done, match);) {
      if (done < match.begin) text(all.substr(done, match.begin - done));
      token(match.id);
      done = match.end;
    }
    if (done < all.size()) text(all.substr(done));
  }

 private:
  // Finds the next match from `from` on and moves `from` behind it. A match must not include white space
  // before `done`, which belongs to an earlier token.
  bool next(std::string_view all, size_t& from, size_t done, Match& match) const;

  std::vector<AddedToken> tokens_;  // sorted by first byte, then the longest first
  std::vector<std::pair<size_t, size_t>>
      by_first_byte_;               // for each byte the range of tokens_ that begin with it
  std::bitset<65536> first_bytes_;  // the pairs of bytes with which a token begins
};

}  // namespace sisa::data::bpe
