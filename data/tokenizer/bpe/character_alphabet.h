// What a piece of text is before the first merge, in vocabularies that are not made of all bytes.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sisa::data::bpe {

// How the file's model writes the characters of a piece as tokens.
struct CharacterRules {
  std::string prefix;  // `continuing_subword_prefix`: of every character but the first
  std::string suffix;  // `end_of_word_suffix`: of the last character
  bool byte_fallback =
      false;  // a character that is no token becomes the tokens <0x00> to <0xFF> of its bytes
  std::optional<uint32_t> unknown;  // or else this token
  bool fuse_unknown = false;        // one for neighbouring unknown characters
};

class CharacterAlphabet {
 public:
  CharacterAlphabet(const std::unordered_map<std::string, uint32_t>& vocabulary, CharacterRules rules);
  // Whether every text has tokens: there is one for what is not in the vocabulary.
  bool complete() const;
  // Appends the tokens of a piece, which is valid UTF-8.
  void append(std::string_view piece, std::vector<uint32_t>& ids) const;

 private:
  static constexpr uint32_t none = std::numeric_limits<uint32_t>::max();
  // The tokens of single characters that stand first or not, last or not: tokens_[first][last][code point].
  std::array<std::array<std::vector<uint32_t>, 2>, 2> tokens_;
  std::array<uint32_t, 256> bytes_;  // <0x00> to <0xFF>
  CharacterRules rules_;
};

}  // namespace sisa::data::bpe
