// Tokens that other programs prepared: SISA's published code, llm.c and modded-nanogpt, Megatron-LM.
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
  std::string kind;                  // for people
  std::vector<TokenArray> files;     // in the order of their names
  int64_t documents = 0;             // that begin in this split; 0: the format does not say
  std::optional<int64_t> delimiter;  // the id that stands between documents, if the format says so
  std::string remark;                // what else the files say of themselves; may be empty
};

// Whether a path, by its name and its neighbours, names tokens rather than text: a folder, a file .bin or
// .idx, or the name that these two have in common (a Megatron-LM prefix).
bool names_tokens(const std::filesystem::path& path);

// Opens a folder of files of one kind, or one file:
//   meta.txt and .bin   raw_shards.h; a folder only
//   .idx and .bin       megatron.h; one file is named by either or without its ending
//   .bin                llmc.h
// Of a folder's files those are held out whose name has the word val, valid, validation or test: they are
// Split::validation and the others are Split::train. Where no name says so, the share `validation` of the
// tokens, at their end, is held out: from the first document on that begins there, if one does in that file.
// The two splits never share a token. Throws Error, with file and offset, on anything that is wrong with a
// file but for its ids.
ForeignTokens open_foreign(const std::filesystem::path& path, Split split, double validation);

}  // namespace sisa::data
