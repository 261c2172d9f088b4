// The shards that SISA's published code trains on (prepare_data.py): a folder of files *.bin that are uint16
// ids and nothing else, and meta.txt beside them, lines of key=value:
//
//   total_tokens=…  num_shards=…  dtype=uint16  eos_id=…  vocab_size=…  dataset=…  tokenizer=…
//
// The first three must agree with the files. vocab_size is the tokenizer's without its added tokens (50,254
// of GPT-NeoX, whose texts hold ids up to 50,276) and bounds nothing.
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
  std::vector<TokenArray> shards;           // by name
  std::map<std::string, std::string> meta;  // what meta.txt says
  std::optional<int64_t> end_of_document;   // eos_id: ends each document
};

// Throws Error naming file and line, or file and offset, if meta.txt cannot be read or disagrees with the
// files `bins`, or if one of those is no whole number of ids.
RawShards open_raw_shards(const std::filesystem::path& folder,
                          const std::vector<std::filesystem::path>& bins);

}  // namespace sisa::data
