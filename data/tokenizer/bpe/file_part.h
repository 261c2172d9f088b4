// What the readers of a tokenizer.json's parts share.
#pragma once

#include <initializer_list>
#include <string_view>

#include "common/json.h"
#include "data/tokenizer/pattern.h"

namespace sisa::data::bpe {

// Refuses a part with other keys than these: a key that is not known may change ids.
void expect_keys(const common::JsonPart& part, std::initializer_list<std::string_view> known);

// The value of a `pattern`: {"String": the text itself} or {"Regex": a regular expression}.
Pattern read_pattern(const common::JsonPart& part);

}  // namespace sisa::data::bpe
