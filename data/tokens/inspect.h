// Shows tokens to people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "data/tokens/dataset.h"

namespace sisa::data {

// The text of the tokens [first, first + count), 0 <= first <= tokens(), or of fewer at the end, on one line:
// a JSON string for each document or part of one, separated by " | ". Incomplete characters become U+FFFD.
std::string preview(const TokenDataset& dataset, const Tokenizer& tokenizer, int64_t first, int64_t count);

// The same tokens as ids separated by spaces, for when there is no tokenizer.
std::string preview_ids(const TokenDataset& dataset, int64_t first, int64_t count);

// Text as a JSON string on one line. What is not UTF-8 becomes U+FFFD.
std::string quoted(const std::string& text);

struct TokenCounts {
  struct Item {
    int64_t id, times;
  };
  std::vector<Item> most_frequent;  // by descending frequency; of equally frequent ids the smaller one first
  int64_t vocabulary = 0;           // the dataset's vocab_size; if it is not known, the largest id + 1
  int64_t unused = 0;               // ids below the vocabulary that never occur
};

inline constexpr int64_t largest_counted_vocabulary = 1 << 24;  // the counts take 8 bytes per id

// Counts all ids. Throws Error on an id outside the vocabulary, and if the vocabulary is too large.
TokenCounts count_tokens(const TokenDataset& dataset, int64_t num_most_frequent);

}  // namespace sisa::data
