// Reads the `tokenizer.json` of Hugging Face's tokenizers, byte-level byte-pair encodings among them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/tokenizer/bpe/added_tokens.h"
#include "data/tokenizer/bpe/encoder.h"
#include "data/tokenizer/pretokenizer.h"

namespace sisa::data::bpe {

// The characters by which a byte-level vocabulary writes the bytes (GPT-2's bytes_to_unicode): printable
// Latin-1 for itself, the others in order from U+0100 on.
std::array<char32_t, 256> byte_characters();

struct TokenizerFile {
  std::vector<std::string> tokens;  // the text of each id, in bytes; "" where the vocabulary has a hole
  std::array<uint32_t, 256> byte_ids = {};
  std::vector<Encoder::Merge> merges;
  // Pieces that are one token whatever the merges say: all of the vocabulary if the file ignores merges.
  std::unordered_map<std::string, uint32_t> whole;
  bool normalizes = false;         // to NFC
  bool prefix_space = false;       // before each text between added tokens, unless it begins with one
  std::vector<Pretokenizer> cuts;  // each cuts what the one before it left
  std::vector<AddedToken> added;
  uint32_t end_of_document = 0;
  uint64_t hash = 0;  // of all that decides about ids
};

// `post_processor`, `truncation` and `padding`, which add to or cut a text's own ids, are left out of
// account. The end of a document is the added or ordinary token <|endoftext|>, <|end_of_text|>,
// <|end▁of▁sentence|>, </s> or <eos>, the first of them that there is. Throws Error naming the file and the
// part of it that cannot be used or makes no sense.
TokenizerFile read_tokenizer_file(const std::filesystem::path& path);

}  // namespace sisa::data::bpe
