// Tokens as people read them.
#pragma once

#include <cstdint>
#include <string>

#include "data/dataset.h"
#include "data/tokenizer.h"

namespace sisa::data {

// The text of the tokens [first, first + count), 0 <= first <= tokens(), fewer at the end, as a JSON string
// on one line: quoted, line ends as \n, what is cut or no UTF-8 as U+FFFD. An end of a document shows as " |
// " between two strings.
std::string preview(const TokenDataset& dataset, const Tokenizer& tokenizer, int64_t first, int64_t count);

}  // namespace sisa::data
