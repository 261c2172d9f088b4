// The text of each token: the `decoder` of a tokenizer.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/json.h"
#include "data/tokenizer/pattern.h"

namespace sisa::data::bpe {

class Decoder {
 public:
  struct ByteLevel {};     // characters stand for bytes
  struct ByteFallback {};  // <0x41> stands for a byte
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  struct Strip {  // drops up to so many of a character
    std::string content;
    size_t start, stop;
  };
  using Step = std::variant<ByteLevel, ByteFallback, Replace, Strip>;

  std::vector<Step> of_tokens;
  std::vector<Strip> of_texts;

  // What a token adds to a text: any bytes.
  std::string token_text(const std::string& token) const;
  // Takes away what a text's own beginning and end do not have.
  std::string_view stripped(std::string_view text) const;
};

// byte_level: whether the ids stand for bytes, so that a missing decoder is ByteLevel. Throws JsonError naming
// what cannot be used.
Decoder read_decoder(const common::JsonPart& part, bool byte_level);

// The bytes for which the characters of a byte-level token stand; nothing if one of them stands for none.
std::optional<std::string> bytes_of_token(const std::string& token);

}  // namespace sisa::data::bpe
