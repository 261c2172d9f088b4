// Splits text into the pieces within which tokens are merged: the `pre_tokenizer` of a tokenizer.json.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/json.h"
#include "data/tokenizer/known_pattern.h"
#include "data/tokenizer/pattern.h"

namespace sisa::data::bpe {

// The character by which a byte-level vocabulary writes each byte (GPT-2's bytes_to_unicode): printable
// Latin-1 characters stand for themselves, and the other bytes are written as U+0100 and following, in order.
std::array<char32_t, 256> byte_characters();
// Appends the characters of the bytes of `text`.
void append_byte_characters(std::string_view text, std::string& out);

// Calls match(begin, end) for each match of a pattern in `text`, from left to right. Matches do not overlap; one
// without text is left out where the last match ends.
template <typename Function>
void for_each_match(const Pattern& pattern, std::string_view text, Pattern::Memory& memory,
                    const Function& match) {
  std::optional<size_t> last_end;
  for (size_t from = 0; from <= text.size();) {
    Pattern::Match found;
    if (!pattern.find(text, from, memory, found)) return;
    if (found.begin == found.end && last_end == found.end) {
      do ++from;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xc0) == 0x80);
      continue;
    }
    match(found.begin, found.end);
    last_end = from = found.end;
  }
}

// Cuts text at the matches of a pattern.
class Split {
 public:
  // What becomes of the matches; the text between them always is a piece.
  enum class Behavior {
    removed,               // dropped
    isolated,              // a piece each
    merged_with_previous,  // joins the piece before it, unless that ends with a match
    merged_with_next,
    contiguous,  // neighbouring matches are one piece
  };
  // invert: the matches and the text between them change places.
  Split(std::variant<KnownPattern, Pattern> pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  // Calls piece(begin, end) for each piece, from left to right. A piece may be empty.
  template <typename Function>
  void pieces(std::string_view text, Pattern::Memory& memory, const Function& piece) const;

 private:
  std::variant<KnownPattern, Pattern> pattern_;
  Behavior behavior_;
  bool invert_;
};

class PreTokenizer {
 public:
  struct PrefixSpace {};     // adds a space before a piece that begins without one
  struct ByteCharacters {};  // writes the bytes as byte_characters
  struct Metaspace {         // writes spaces as another character, and adds one in front
    enum class Scheme { always, first, never };
    std::string replacement;
    Scheme scheme;  // first: only at the beginning of the text
  };
  using Step = std::variant<Split, PrefixSpace, ByteCharacters, Metaspace>;

  // Each step is applied to the pieces of the one before it.
  std::vector<Step> steps;

  struct Memory {
    Pattern::Memory pattern;
    std::vector<std::string> texts;  // what a step has written, by its number
  };
  // Calls piece(std::string_view) for each piece of `text` that is not empty. at_start: whether the text begins
  // where the whole one does that is encoded.
  template <typename Function>
  void pieces(std::string_view text, bool at_start, Memory& memory, const Function& piece) const {
    if (memory.texts.size() < steps.size()) memory.texts.resize(steps.size());
    pieces_from(0, text, at_start, memory, piece);
  }

 private:
  template <typename Function>
  void pieces_from(size_t number, std::string_view text, bool at_start, Memory& memory,
                   const Function& piece) const;
  static std::string_view written(const Step& step, std::string_view text, bool at_start,
                                  std::string& buffer);
};

// Throws JsonError naming what cannot be used.
PreTokenizer read_pre_tokenizer(const common::JsonPart& part);

// Below: implementation.

template <typename Function>
void Split::pieces(std::string_view text, Pattern::Memory& memory, const Function& piece) const {
  if (const auto* known = std::get_if<KnownPattern>(&pattern_)) {
    // All of the text is matches.
    const bool alone = invert_ ? behavior_ != Behavior::contiguous
                               : behavior_ != Behavior::contiguous && behavior_ != Behavior::removed;
    if (behavior_ == Behavior::contiguous) return piece(0, text.size());
    if (alone)
      for (size_t begin = 0, end; begin < text.size(); begin = end)
        piece(begin, end = known->piece_end(text, begin));
    return;
  }
  struct Span {
    size_t begin, end;
    bool match;
  };
  std::optional<Span> open;  // the piece that what comes next may join
  const auto close = [&] {
    if (open) piece(open->begin, open->end);
    open.reset();
  };
  const auto next = [&](const Span& span) {
    bool joins = false;
    switch (behavior_) {
      case Behavior::removed:
        if (!span.match) piece(span.begin, span.end);
        return;
      case Behavior::isolated:
        piece(span.begin, span.end);
        return;
      case Behavior::contiguous:
        joins = open && open->match == span.match;
        break;
      case Behavior::merged_with_previous:
        joins = open && span.match && !open->match;
        break;
      case Behavior::merged_with_next:
        joins = open && open->match && !span.match;
        break;
    }
    if (joins) {
      open->end = span.end;
      open->match = span.match;
    } else {
      close();
      open = span;
    }
  };
  size_t done = 0;
  for_each_match(std::get<Pattern>(pattern_), text, memory, [&](size_t begin, size_t end) {
    if (done != begin) next({done, begin, invert_});
    next({begin, end, !invert_});
    done = end;
  });
  if (done != text.size()) next({done, text.size(), invert_});
  close();
}

template <typename Function>
void PreTokenizer::pieces_from(size_t number, std::string_view text, bool at_start, Memory& memory,
                               const Function& piece) const {
  if (text.empty()) return;
  if (number == steps.size()) return piece(text);
  if (const Split* split = std::get_if<Split>(&steps[number])) {
    split->pieces(text, memory.pattern, [&](size_t begin, size_t end) {
      pieces_from(number + 1, text.substr(begin, end - begin), at_start && begin == 0, memory, piece);
    });
  } else {
    pieces_from(number + 1, written(steps[number], text, at_start, memory.texts[number]), at_start, memory,
                piece);
  }
}

}  // namespace sisa::data::bpe
