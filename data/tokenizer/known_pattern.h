// The splitting patterns of GPT-2, Llama 3 and Qwen 2, scanned by code of their own.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace sisa::data {

// Most tokenizer files split text by a regular expression of one family. We recognise its members by their text
// and scan with code of our own, which takes linear time for any text and is several times as fast as Pattern
// (tests/data/known_pattern_test.cpp compares the two). Every text is a sequence of matches, without gaps.
class KnownPattern {
 public:
  // The splits of a ByteLevel with use_regex: GPT-2, GPT-NeoX, Pythia, OLMo.
  static KnownPattern gpt2();
  // The one with this text, if there is one.
  static std::optional<KnownPattern> find(std::string_view pattern);

  // The end of the piece that begins at `begin` < text.size(). `text` is valid UTF-8.
  size_t piece_end(std::string_view text, size_t begin) const;

 private:
  // How the members of the family differ; GPT-2's values are the defaults.
  struct Rules {
    // Contractions such as 'S are split off like 's.
    bool any_case = false;
    // A word includes one character before it that is not a line end, a letter or a number; otherwise only a
    // space.
    bool any_prefix = false;
    // The largest number of digits of a piece; 0: any number of digits, with a space before them.
    size_t digits = 0;
    // Punctuation includes the line ends behind it, and white space is split behind its last line end.
    bool line_ends = false;
  };
  explicit KnownPattern(const Rules& rules) : rules_(rules) {}
  size_t contraction_end(std::string_view text, size_t begin) const;  // 0 if there is none
  size_t white_space_end(std::string_view text, size_t begin) const;
  Rules rules_;
};

}  // namespace sisa::data
