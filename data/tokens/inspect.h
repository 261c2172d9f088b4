// Tokens as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "data/tokens/dataset.h"

namespace sisa::data {

// The text of the tokens [first, first + count), 0 <= first <= tokens(), fewer at the end, as a JSON string
// on one line: quoted, line ends as \n, what is cut or no UTF-8 as U+FFFD. An end of a document shows as " |
// " between two strings.
std::string preview(const TokenDataset& dataset, const Tokenizer& tokenizer, int64_t first, int64_t count);

// The same without a tokenizer: ids, separated by spaces.
std::string preview_ids(const TokenDataset& dataset, int64_t first, int64_t count);

// Text as a JSON string on one line; what is no UTF-8 becomes U+FFFD.
std::string quoted(const std::string& text);

struct TokenCounts {
  struct Item {
    int64_t id, times;
  };
  std::vector<Item> most_frequent;  // first the most frequent; among equals, the smaller id
  int64_t vocabulary = 0;           // the dataset's; if it is not known, the largest id + 1
  int64_t unused = 0;               // ids below the vocabulary that never occur
};

inline constexpr int64_t largest_counted_vocabulary = 1 << 24;  // the counts take 8 bytes an id

// Counts every id. Throws Error on an id outside the vocabulary, and if that is too large.
TokenCounts count_tokens(const TokenDataset& dataset, int64_t num_most_frequent);

}  // namespace sisa::data
