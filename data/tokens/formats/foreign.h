// Token files of other programs: SISA's published code, llm.c and modded-nanogpt, Megatron-LM.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/tokens/manifest.h"
#include "data/tokens/token_array.h"

namespace sisa::data {

// The tokens of one split.
struct ForeignTokens {
  std::string kind;                  // the format, for people
  std::vector<TokenArray> files;     // in the order of their names
  int64_t documents = 0;             // how many begin in this split; 0 if the format does not say
  std::optional<int64_t> delimiter;  // the id between documents, if the format says so
  std::string remark;                // what else the files say about themselves; may be empty
};

// Whether a path names tokens rather than text: a folder, a .bin or .idx file, or the name that two such
// files have in common (a Megatron-LM prefix).
bool names_tokens(const std::filesystem::path& path);

// Opens one file, or a folder of files of one format:
//   meta.txt and .bin   see raw_shards.h; only as a folder
//   .idx and .bin       see megatron.h; a pair is named by either file, or without the extension
//   .bin                see llmc.h
// The files of a folder whose name contains the word val, valid, validation or test are Split::validation,
// and the others are Split::train. If no name says so, the last `validation` of all tokens is held out, where
// the cut is moved to the next start of a document in the same file if there is one. The two splits never
// share a token. Throws Error, with file and offset, on anything that is wrong with a file, except for its
// ids.
ForeignTokens open_foreign(const std::filesystem::path& path, Split split, double validation);

}  // namespace sisa::data
