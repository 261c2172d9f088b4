// Joins pieces into a dataset: the second half of a preparation, done by one process.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/prepare/input_blocks.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokens/manifest.h"

namespace sisa::data {

struct JoinOptions {
  std::filesystem::path output;
  double validation = 0;  // the share that is held out of inputs that are not held out as a whole, 0 to 0.5
  bool deduplicate = false;
  int64_t shard_tokens = 0;  // a token file is closed once it has this many tokens
  int threads = 1;
};

// Writes the token files of both splits, with the documents in the order of the pieces, and returns their
// manifest. data::HoldOut decides which documents are held out. With `deduplicate` the first of several
// documents with the same text remains; that takes 24 bytes of memory per document. `tokens_done` counts the
// tokens written. Throws Error if a split would be empty, SystemError if a piece is damaged, which is then
// removed.
Manifest join_pieces(const std::vector<std::filesystem::path>& pieces, const std::vector<Input>& inputs,
                     const JoinOptions& options, const Tokenizer& tokenizer,
                     std::atomic<int64_t>& tokens_done);

}  // namespace sisa::data
