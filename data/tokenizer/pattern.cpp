#include "data/tokenizer/pattern.h"

#include <limits>
#include <utility>

#include "common/error.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data {
namespace {

using Kind = PatternNode::Kind;
using Mode = PatternNode::Mode;

constexpr size_t none = std::numeric_limits<size_t>::max();
constexpr size_t largest_program = 100'000;  // instructions

// What is known of a node's matches without looking at text.
struct Traits {
  bool may_be_empty;
  CodePointSet first;  // the first characters of those that are not empty
};

Traits traits_of(const PatternNode& node) {
  switch (node.kind) {
    case Kind::set:
      return {false, *node.set};
    case Kind::sequence: {
      Traits all{true, {}};
      for (const PatternNode& part : node.parts) {
        const Traits next = traits_of(part);
        all.first.add(next.first);
        if (!next.may_be_empty) {
          all.may_be_empty = false;
          break;
        }
      }
      return all;
    }
    case Kind::choice: {
      Traits all{false, {}};
      for (const PatternNode& part : node.parts) {
        const Traits next = traits_of(part);
        all.first.add(next.first);
        all.may_be_empty |= next.may_be_empty;
      }
      return all;
    }
    case Kind::repeat: {
      Traits all = traits_of(node.parts[0]);
      all.may_be_empty |= node.least == 0;
      return all;
    }
    case Kind::atomic:
      return traits_of(node.parts[0]);
    default:  // takes no text
      return {true, {}};
  }
}

// The number of characters of every match; `none` if they differ.
size_t length_of(const PatternNode& node) {
  switch (node.kind) {
    case Kind::set:
      return 1;
    case Kind::sequence: {
      size_t all = 0;
      for (const PatternNode& part : node.parts) {
        const size_t next = length_of(part);
        if (next == none) return none;
        all += next;
      }
      return all;
    }
    case Kind::choice: {
      const size_t first = length_of(node.parts[0]);
      for (const PatternNode& part : node.parts)
        if (length_of(part) != first) return none;
      return first;
    }
    case Kind::repeat: {
      const size_t once = length_of(node.parts[0]);
      return once == none || node.least != node.most ? none : once * node.least;
    }
    case Kind::atomic:
      return length_of(node.parts[0]);
    default:
      return 0;
  }
}

}  // namespace

Pattern Pattern::of_text(std::string_view text) {
  PatternNode all{.kind = Kind::sequence};
  for (size_t at = 0; at < text.size();) {
    const auto [code, end] = character_at(text, at);
    CodePointSet set;
    set.add(code);
    all.parts.push_back({.kind = Kind::set, .set = std::make_shared<const CodePointSet>(std::move(set))});
    at = end;
  }
  return Pattern(all);
}

Pattern Pattern::of_set(const CodePointSet& set) {
  return Pattern(PatternNode{.kind = Kind::set, .set = std::make_shared<const CodePointSet>(set)});
}

Pattern::Pattern(const PatternNode& node) {
  const auto add_branch = [&](const PatternNode& part) {
    Traits traits = traits_of(part);
    Branch branch{.start = static_cast<uint32_t>(program_.size()), .always = traits.may_be_empty};
    for (char32_t c = 0; c < 128; ++c)
      if (traits.first.contains(c)) branch.ascii[c / 64] |= uint64_t{1} << c % 64;
    branch.first = std::make_shared<const CodePointSet>(std::move(traits.first));
    branches_.push_back(std::move(branch));
    compile(part);
    add({.op = Op::accept});
  };
  if (node.kind == Kind::choice)
    for (const PatternNode& part : node.parts) add_branch(part);
  else
    add_branch(node);
}

uint32_t Pattern::add(const Instruction& instruction) {
  if (program_.size() >= largest_program) throw Error("is too long once its repetitions are written out");
  program_.push_back(instruction);
  return static_cast<uint32_t>(program_.size() - 1);
}

uint32_t Pattern::index_of(const std::shared_ptr<const CodePointSet>& set) {
  for (size_t i = 0; i < sets_.size(); ++i)
    if (sets_[i].all == set) return static_cast<uint32_t>(i);
  Set next{{0, 0}, set};
  for (char32_t c = 0; c < 128; ++c)
    if (set->contains(c)) next.ascii[c / 64] |= uint64_t{1} << c % 64;
  sets_.push_back(std::move(next));
  return static_cast<uint32_t>(sets_.size() - 1);
}

void Pattern::compile(const PatternNode& node) {
  switch (node.kind) {
    case Kind::set:
      add({.op = Op::set, .set = index_of(node.set)});
      return;
    case Kind::sequence:
      for (const PatternNode& part : node.parts) compile(part);
      return;
    case Kind::choice: {
      std::vector<uint32_t> ends;
      for (size_t i = 0; i < node.parts.size(); ++i) {
        if (i + 1 == node.parts.size()) {
          compile(node.parts[i]);
          break;
        }
        const uint32_t fork = add({.op = Op::fork});
        program_[fork].first = fork + 1;
        compile(node.parts[i]);
        ends.push_back(add({.op = Op::jump}));
        program_[fork].second = static_cast<uint32_t>(program_.size());
      }
      for (const uint32_t end : ends) program_[end].first = static_cast<uint32_t>(program_.size());
      return;
    }
    case Kind::repeat:
      return compile_repeat(node);
    case Kind::look_ahead:
    case Kind::look_behind:
    case Kind::atomic:
      return compile_around(node);
    default:
      add({.op = Op::assertion,
           .kind = node.kind,
           .negative = node.negative,
           .set = node.set ? index_of(node.set) : 0});
  }
}

void Pattern::compile_repeat(const PatternNode& node) {
  const PatternNode& part = node.parts[0];
  if (part.kind == Kind::set) {
    add({.op = Op::run,
         .mode = node.mode,
         .set = index_of(part.set),
         .first = node.least,
         .second = node.most});
    return;
  }
  if (node.mode == Mode::possessive) {
    PatternNode greedy = node;
    greedy.mode = Mode::greedy;
    PatternNode atomic{.kind = Kind::atomic};
    atomic.parts.push_back(std::move(greedy));
    return compile_around(atomic);
  }
  const auto fork = [&] { return add({.op = Op::fork}); };
  const auto aim = [&](uint32_t at, uint32_t inside, uint32_t behind) {
    program_[at].first = node.mode == Mode::lazy ? behind : inside;
    program_[at].second = node.mode == Mode::lazy ? inside : behind;
  };
  for (uint32_t i = 0; i < node.least; ++i) compile(part);
  if (node.most == PatternNode::unlimited) {
    if (traits_of(part).may_be_empty)
      throw Error("repeats a group that may match nothing, which cannot be used");
    const uint32_t start = fork();
    compile(part);
    add({.op = Op::jump, .first = start});
    aim(start, start + 1, static_cast<uint32_t>(program_.size()));
    return;
  }
  std::vector<uint32_t> forks;
  for (uint32_t i = node.least; i < node.most; ++i) {
    forks.push_back(fork());
    compile(part);
  }
  for (const uint32_t at : forks) aim(at, at + 1, static_cast<uint32_t>(program_.size()));
}

void Pattern::compile_around(const PatternNode& node) {
  const PatternNode& inner = node.parts[0];
  const auto surround = [&](const PatternNode& body, size_t back) {
    const uint32_t start = add({.op = node.kind == Kind::atomic ? Op::atomic : Op::look,
                                .negative = node.negative,
                                .second = static_cast<uint32_t>(back)});
    compile(body);
    add({.op = Op::accept});
    program_[start].first = static_cast<uint32_t>(program_.size());
  };
  if (node.kind != Kind::look_behind) return surround(inner, 0);
  if (const size_t back = length_of(inner); back != none) return surround(inner, back);
  if (inner.kind != Kind::choice)
    throw Error("looks back over text of no fixed length, which cannot be used");
  // (?<=a|bc): either of two; (?<!a|bc): neither of them.
  PatternNode all{.kind = node.negative ? Kind::sequence : Kind::choice};
  for (const PatternNode& part : inner.parts) {
    if (length_of(part) == none) throw Error("looks back over text of no fixed length, which cannot be used");
    PatternNode look{.kind = Kind::look_behind, .negative = node.negative};
    look.parts.push_back(part);
    all.parts.push_back(std::move(look));
  }
  compile(all);
}

bool Pattern::holds(const Instruction& assertion, std::string_view text, size_t at) const {
  const bool at_end = at == text.size();
  switch (assertion.kind) {
    case Kind::line_begin:
      return at == 0 || (text[at - 1] == '\n' && !at_end);
    case Kind::line_end:
      return at_end || text[at] == '\n';
    case Kind::text_begin:
      return at == 0;
    case Kind::text_end:
      return at_end;
    case Kind::text_end_or_last_line_end:
      return at_end || (at + 1 == text.size() && text[at] == '\n');
    default: {  // word_boundary
      const Set& set = sets_[assertion.set];
      const bool before = at > 0 && set.contains(character_before(text, at).code);
      const bool behind = !at_end && set.contains(character_at(text, at).code);
      return (before != behind) != assertion.negative;
    }
  }
}

bool Pattern::find(std::string_view text, size_t from, Memory& memory, Match& match) const {
  memory.frames_.clear();  // of a search that was given up
  memory.steps_left_ = 100'000'000 + 100 * static_cast<int64_t>(text.size() - from);
  for (size_t begin = from;;) {
    const bool at_end = begin == text.size();
    const auto [code, next] = at_end ? Character{0, begin} : character_at(text, begin);
    for (const Branch& branch : branches_) {
      const bool possible =
          branch.always ||
          (!at_end && (code < 128 ? branch.ascii[code / 64] >> code % 64 & 1 : branch.first->contains(code)));
      if (!possible) continue;
      if (const size_t end = run(branch.start, text, begin, memory); end != none) {
        match = {begin, end};
        return true;
      }
    }
    if (at_end) return false;
    begin = next;
  }
}

// The end of the match of the instructions from `start` on that begins at `begin`; `none` if there is none.
size_t Pattern::run(uint32_t start, std::string_view text, size_t begin, Memory& memory) const {
  std::vector<Memory::Frame>& frames = memory.frames_;
  const size_t base = frames.size();
  uint32_t i = start;
  size_t at = begin;
  while (true) {
    const Instruction& now = program_[i];
    bool failed = false;
    switch (now.op) {
      case Op::set:
        if (at < text.size())
          if (const auto [code, end] = character_at(text, at); sets_[now.set].contains(code)) {
            at = end;
            ++i;
            break;
          }
        failed = true;
        break;
      case Op::run: {
        const Set& set = sets_[now.set];
        const bool lazy = now.mode == Mode::lazy;
        const uint32_t most = lazy ? now.first : now.second;
        size_t least_end = at;
        uint32_t count = 0;
        for (; count < most && at < text.size(); ++count) {
          const auto [code, end] = character_at(text, at);
          if (!set.contains(code)) break;
          at = end;
          if (count < now.first) least_end = at;
        }
        failed = count < now.first;
        if (failed) break;
        if (lazy && count < now.second)
          frames.push_back({i, true, at, count});  // one more, if need be
        else if (now.mode == Mode::greedy && at > least_end)
          frames.push_back({i, true, at, least_end});  // one fewer, if need be
        ++i;
        break;
      }
      case Op::fork:
        frames.push_back({now.second, false, at, 0});
        i = now.first;
        break;
      case Op::jump:
        i = now.first;
        break;
      case Op::look: {
        size_t from = at;
        uint32_t back = now.second;
        for (; back > 0 && from > 0; --back) from = character_before(text, from).end;
        const bool found = back == 0 && run(i + 1, text, from, memory) != none;
        failed = found == now.negative;
        i = now.first;
        break;
      }
      case Op::atomic: {
        const size_t end = run(i + 1, text, at, memory);
        failed = end == none;
        at = end;
        i = now.first;
        break;
      }
      case Op::assertion:
        failed = !holds(now, text, at);
        ++i;
        break;
      case Op::accept:
        frames.resize(base);
        return at;
    }
    if (failed && !back_up(base, text, memory, i, at)) return none;
  }
}

// Takes back the last choice since frames_ had `base` frames: false if there is none left.
bool Pattern::back_up(size_t base, std::string_view text, Memory& memory, uint32_t& i, size_t& at) const {
  std::vector<Memory::Frame>& frames = memory.frames_;
  while (frames.size() > base) {
    if (--memory.steps_left_ < 0) {
      frames.resize(base);
      throw Error("A splitting pattern of the tokenizer takes too many steps for a text of {} bytes.",
                  text.size());
    }
    Memory::Frame& frame = frames.back();
    at = frame.at;
    i = frame.instruction;
    if (!frame.of_run) {
      frames.pop_back();
      return true;
    }
    const Instruction& again = program_[i++];
    if (again.mode != Mode::lazy) {  // one character fewer
      at = frame.at = character_start(text, at - 1);
      if (at == frame.bound) frames.pop_back();
      return true;
    }
    if (at < text.size())  // one character more
      if (const auto [code, end] = character_at(text, at); sets_[again.set].contains(code)) {
        at = frame.at = end;
        if (++frame.bound >= again.second) frames.pop_back();
        return true;
      }
    frames.pop_back();
  }
  return false;
}

}  // namespace sisa::data
