// Reads a regular expression as Oniguruma does, which the Python package `tokenizers` uses (its Ruby syntax).
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "data/tokenizer/code_point_set.h"

namespace sisa::data {

// A part of a regular expression.
struct PatternNode {
  enum class Kind {
    set,         // one character of `set`
    sequence,    // the parts, one after another
    choice,      // one of the parts; the first that leads to a match
    repeat,      // parts[0], `least` to `most` times
    look_ahead,  // parts[0] follows (or not, if `negative`); takes no text
    look_behind,
    atomic,  // parts[0], as it matches first
    line_begin,
    line_end,
    text_begin,
    text_end,
    text_end_or_last_line_end,
    word_boundary,  // between a character of `set` and none, or not so, if `negative`
  };
  enum class Mode { greedy, lazy, possessive };
  static constexpr uint32_t unlimited = UINT32_MAX;

  Kind kind;
  std::vector<PatternNode> parts = {};
  std::shared_ptr<const CodePointSet> set = nullptr;
  uint32_t least = 0, most = 0;
  Mode mode = Mode::greedy;
  bool negative = false;
};

// Throws Error: why the expression cannot be used, as the end of a sentence ("has … at byte N").
PatternNode parse_pattern(std::string_view expression);

}  // namespace sisa::data
