// Reads a `tokenizer.json` of Hugging Face's tokenizers that describes a byte-level byte-pair encoding.
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

// The character by which a byte-level vocabulary writes each byte (GPT-2's bytes_to_unicode): printable
// Latin-1 characters stand for themselves, and the other bytes are written as U+0100 and following, in order.
std::array<char32_t, 256> byte_characters();

struct TokenizerFile {
  std::vector<std::string> tokens;  // the bytes of each id's text; "" for ids that the vocabulary leaves out
  std::array<uint32_t, 256> byte_ids = {};
  std::vector<Encoder::Merge> merges;
  // Pieces that are one token regardless of the merges: the whole vocabulary if the file says
  // `ignore_merges`.
  std::unordered_map<std::string, uint32_t> whole;
  bool normalizes = false;    // text is normalised to NFC
  bool prefix_space = false;  // a space is added before text between added tokens that begins without one
  std::vector<Pretokenizer> cuts;  // each one splits the pieces of the one before it
  std::vector<AddedToken> added;
  uint32_t end_of_document = 0;
  uint64_t hash = 0;  // of everything that decides the ids
};

// Ignores `post_processor`, `truncation` and `padding`, which add ids to those of a text or remove some. The
// end-of-document token is the first of <|endoftext|>, <|end_of_text|>, <|end▁of▁sentence|>, </s> and <eos>
// that is an added or an ordinary token. Throws Error naming the file and the part of it that cannot be used
// or is wrong.
TokenizerFile read_tokenizer_file(const std::filesystem::path& path);

}  // namespace sisa::data::bpe
