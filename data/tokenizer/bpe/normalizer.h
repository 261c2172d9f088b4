// Rewrites text before it is split: the `normalizer` of a tokenizer.json.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/json.h"
#include "data/tokenizer/normalize.h"
#include "data/tokenizer/pattern.h"

namespace sisa::data::bpe {

class Normalizer {
 public:
  struct Form {
    NormalizationForm form;
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  struct Prepend {
    std::string text;
  };
  struct Strip {
    bool left, right;
  };
  struct LowerCase {};
  struct ByteCharacters {};
  using Step = std::variant<Form, Replace, Prepend, Strip, LowerCase, ByteCharacters>;

  std::vector<Step> steps;

  struct Memory {
    Pattern::Memory pattern;
    std::vector<std::string> texts;  // what a step has written, by its number
  };
  // The normalised text: `text` itself, a part of it, or in `memory`. at_start becomes false if what the text
  // began with was dropped.
  std::string_view apply(std::string_view text, Memory& memory, bool& at_start) const;
};

// Throws JsonError naming what cannot be used.
Normalizer read_normalizer(const common::JsonPart& part);

}  // namespace sisa::data::bpe
