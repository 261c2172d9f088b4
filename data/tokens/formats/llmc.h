// The token files of llm.c and modded-nanogpt, little-endian:
//
//   offset  type        field                GPT-2      Llama-3
//        0  int32       magic                20240520   20240801
//        4  int32       version              1          7
//        8  int32       number of tokens
//       12  int32[253]  not used
//     1024              ids                  uint16     uint32
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

// Throws Error naming file and offset if the header is of another format or has another number of tokens than
// the file.
LlmcFile open_llmc(const std::filesystem::path& path);

}  // namespace sisa::data
