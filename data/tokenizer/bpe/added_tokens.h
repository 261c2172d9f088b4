// Tokens that are found in the text before it is cut into pieces.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sisa::data::bpe {

struct AddedToken {
  uint32_t id;
  std::string content;
  bool single_word = false;  // not beside a word character
  bool left_strip = false;   // takes along the white space before it …
  bool right_strip = false;  // … and behind it
  bool normalized = true;    // looked for in the normalised text, and normalised itself
};

// Finds any of a set of tokens: the leftmost, of those the longest.
class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);  // none of them with empty content
  struct Match {
    size_t begin, end;
    uint32_t id;
  };
  // Calls text(std::string_view) and token(id) for what lies between tokens and for the tokens, in order.
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
  // The next match from `from` on, which moves behind it; white space before `done` is taken already.
  bool next(std::string_view all, size_t& from, size_t done, Match& match) const;

  std::vector<AddedToken> tokens_;                        // by first byte, the longest first
  std::vector<std::pair<size_t, size_t>> by_first_byte_;  // 256: of tokens_
  std::bitset<65536> first_bytes_;                        // pairs of bytes with which a token begins
};

}  // namespace sisa::data::bpe
