// Pieces into a dataset: the second half of a preparation, done by one process.
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
  double validation = 0;  // share held out, 0 to 0.5
  bool deduplicate = false;
  int64_t shard_tokens = 0;  // a token file is closed once it holds as many
  int threads = 1;
};

// Writes the token files of both splits, in the order of the pieces' documents, and returns what describes
// them. Which documents are held out: data::HoldOut. With `deduplicate` the first of documents with equal
// text remains, which takes 24 bytes of memory a document. `tokens_done` counts what is written. Throws Error
// if a split comes out empty or if a piece is damaged, which is then removed.
Manifest join_pieces(const std::vector<std::filesystem::path>& pieces, const std::vector<Input>& inputs,
                     const JoinOptions& options, const Tokenizer& tokenizer,
                     std::atomic<int64_t>& tokens_done);

}  // namespace sisa::data
