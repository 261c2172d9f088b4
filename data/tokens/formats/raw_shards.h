// The shards on which SISA's published code trains (prepare_data.py): a folder of files *.bin that contain
// only uint16 ids, and a file meta.txt with lines of key=value:
//
//   total_tokens=…  num_shards=…  dtype=uint16  eos_id=…  vocab_size=…  dataset=…  tokenizer=…
//
// The first three must agree with the files. vocab_size is that of the tokenizer without its added tokens
// (50,254 for GPT-NeoX, whose texts contain ids up to 50,276), so that ids may be larger.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/tokens/token_array.h"

namespace sisa::data {

struct RawShards {
  std::vector<TokenArray> shards;           // in the order of their names
  std::map<std::string, std::string> meta;  // the keys and values of meta.txt
  std::optional<int64_t> end_of_document;   // eos_id, which ends each document
};

// Throws Error naming file and line, or file and offset, if meta.txt cannot be read or disagrees with the
// files `bins`, or if one of them is not a whole number of ids.
RawShards open_raw_shards(const std::filesystem::path& folder,
                          const std::vector<std::filesystem::path>& bins);

}  // namespace sisa::data
