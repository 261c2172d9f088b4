// Cuts text into the pieces within which byte pairs are merged.
#pragma once

#include <cstddef>
#include <string_view>

namespace sisa::data {

// Tokenizer files give these cuts as a regular expression. The expressions in use form one family, whose
// members are recognised by their text and scanned by hand, an order of magnitude faster than by an engine,
// in time that grows linearly with any text.
class Pretokenizer {
 public:
  // What ByteLevel with use_regex cuts by: GPT-2, GPT-NeoX, Pythia, OLMo.
  static Pretokenizer gpt2();
  // The pattern of a Split, cut where it matches and between matches. Throws Error naming a pattern that is
  // not known, and those that are.
  static Pretokenizer from_pattern(std::string_view pattern);

  // Where the piece ends that begins at `begin` < text.size(). text: valid UTF-8.
  size_t piece_end(std::string_view text, size_t begin) const;

 private:
  // How the members of the family differ; GPT-2's values are the defaults.
  struct Rules {
    bool any_case = false;    // 'S is cut off as 's is
    bool any_prefix = false;  // a word takes along one character before it that is no line end, letter or
                              // number, not only a space
    size_t digits = 0;        // of a number, at most; 0: any, and a space before them
    bool line_ends =
        false;  // punctuation takes along the line ends behind it, white space ends behind its last line end
  };
  explicit Pretokenizer(const Rules& rules) : rules_(rules) {}
  size_t contraction_end(std::string_view text, size_t begin) const;  // 0: there is none
  size_t white_space_end(std::string_view text, size_t begin) const;
  Rules rules_;
};

}  // namespace sisa::data
