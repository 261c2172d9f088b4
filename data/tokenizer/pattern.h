// Regular expressions by which tokenizer files split and replace text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "data/tokenizer/code_point_set.h"
#include "data/tokenizer/pattern_parser.h"

namespace sisa::data {

// A regular expression in the syntax and with the meaning that it has in the Python package `tokenizers`, whose
// Unicode tables are used. Among the matches that begin at a place it finds the one that a backtracking engine
// finds first. Immutable; any number of threads may search at once, each with a Memory of its own.
class Pattern {
 public:
  // Throws Error: why the expression cannot be used, as the end of a sentence ("has … at byte N").
  explicit Pattern(std::string_view expression) : Pattern(parse_pattern(expression)) {}
  explicit Pattern(const PatternNode& node);       // likewise
  static Pattern of_text(std::string_view text);   // this text itself, of valid UTF-8, not empty
  static Pattern of_set(const CodePointSet& set);  // one character of the set

  struct Match {
    size_t begin, end;
  };
  class Memory;
  // Finds the leftmost match that begins at `from` or later; looks at the text before it, too. `text` is valid
  // UTF-8. Throws Error if that takes too many steps, as some expressions do for some texts.
  bool find(std::string_view text, size_t from, Memory& memory, Match& match) const;

 private:
  enum class Op : uint8_t { set, run, fork, jump, look, atomic, assertion, accept };
  struct Instruction {
    Op op;
    PatternNode::Mode mode = PatternNode::Mode::greedy;
    PatternNode::Kind kind = PatternNode::Kind::set;
    bool negative = false;
    uint32_t set = 0;                // index of sets_
    uint32_t first = 0, second = 0;  // targets; of a run the least and the largest number; of a look (first)
                                     // where it goes on and (second) how many characters it looks back
  };
  struct Branch {
    uint32_t start;
    bool always = false;         // may match without taking text
    uint64_t ascii[2] = {0, 0};  // the first characters of its matches
    std::shared_ptr<const CodePointSet> first;
  };
  struct Set {
    uint64_t ascii[2];
    std::shared_ptr<const CodePointSet> all;
    bool contains(char32_t c) const { return c < 128 ? ascii[c / 64] >> c % 64 & 1 : all->contains(c); }
  };

  void compile(const PatternNode& node);
  void compile_repeat(const PatternNode& node);
  void compile_around(const PatternNode& node);
  uint32_t add(const Instruction& instruction);
  uint32_t index_of(const std::shared_ptr<const CodePointSet>& set);
  size_t run(uint32_t start, std::string_view text, size_t begin, Memory& memory) const;
  bool back_up(size_t base, std::string_view text, Memory& memory, uint32_t& i, size_t& at) const;
  bool holds(const Instruction& assertion, std::string_view text, size_t at) const;

  std::vector<Instruction> program_;
  std::vector<Set> sets_;
  std::vector<Branch> branches_;  // of the choice at the top
};

// The working memory of a thread.
class Pattern::Memory {
  friend class Pattern;
  struct Frame {  // where to go on if what was tried fails
    uint32_t instruction;
    bool of_run;
    size_t at, bound;
  };
  std::vector<Frame> frames_;
  int64_t steps_left_ = 0;
};

}  // namespace sisa::data
