// Reads a `tokenizer.json` of Hugging Face's tokenizers that describes a byte-pair encoding.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/tokenizer/bpe/added_tokens.h"
#include "data/tokenizer/bpe/decoder.h"
#include "data/tokenizer/bpe/encoder.h"
#include "data/tokenizer/bpe/normalizer.h"
#include "data/tokenizer/bpe/pre_tokenizer.h"

namespace sisa::data::bpe {

struct TokenizerFile {
  std::vector<std::string> tokens;  // each id's token as the file writes it; "" for ids that it leaves out
  std::vector<std::string> texts;   // the bytes of each id's text
  Encoder::Alphabet alphabet;
  std::vector<Encoder::Merge> merges;
  // Pieces that are one token regardless of the merges: the whole vocabulary if the file says
  // `ignore_merges`.
  std::unordered_map<std::string, uint32_t> whole;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Decoder decoder;
  // With the ids that the package gives, whatever the file's `id` says: that of the vocabulary, or else the next
  // free number.
  std::vector<AddedToken> added;
  uint32_t end_of_document = 0;
  uint64_t hash = 0;  // of everything that decides the ids
};

// docs/data.md says what is read, what is refused and what has no effect. Throws Error naming the file and the
// part of it that cannot be used or is wrong.
TokenizerFile read_tokenizer_file(const std::filesystem::path& path);

}  // namespace sisa::data::bpe
