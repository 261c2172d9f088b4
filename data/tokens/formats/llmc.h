// The token files of llm.c and modded-nanogpt, all little-endian:
//
//   offset  type        field
//        0  int32       magic: 20240520 GPT-2, 20240801 Llama-3
//        4  int32       version: 1, 7
//        8  int32       tokens
//       12  int32[253]  not used
//     1024              ids: uint16, uint32
//
// The end-of-text token comes before each document.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "data/tokens/token_array.h"

namespace sisa::data {

struct LlmcFile {
  TokenArray ids;
  std::string tokenizer;      // "GPT-2" or "Llama-3"
  int64_t start_of_document;  // the end-of-text token of that tokenizer
};

// Throws Error naming file and offset if the header is of another kind or the tokens are not as many as it
// says.
LlmcFile open_llmc(const std::filesystem::path& path);

}  // namespace sisa::data
