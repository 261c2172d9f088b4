#include "data/tokenizer/bpe/pre_tokenizer.h"

#include <memory>
#include <utility>

#include "common/error.h"
#include "data/tokenizer/bpe/file_part.h"
#include "data/tokenizer/code_point_set.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data::bpe {
namespace {

using Part = common::JsonPart;
using Behavior = Split::Behavior;
using Metaspace = PreTokenizer::Metaspace;

Behavior behavior_of(const Part& part) {
  constexpr std::pair<const char*, Behavior> names[] = {
      {"Removed", Behavior::removed},
      {"Isolated", Behavior::isolated},
      {"MergedWithPrevious", Behavior::merged_with_previous},
      {"MergedWithNext", Behavior::merged_with_next},
      {"Contiguous", Behavior::contiguous}};
  const std::string text = part.text();
  for (const auto& [name, behavior] : names)
    if (text == name) return behavior;
  part.refuse("is {}, where Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous is expected",
              part.shown());
}

std::variant<KnownPattern, Pattern> split_pattern(const Part& part) {
  if (part.has("Regex"))
    if (const auto known = KnownPattern::find(part.at("Regex").text())) return *known;
  return read_pattern(part);
}

Split at_each(const CodePointSet& set, Behavior behavior) {
  return {Pattern::of_set(set), behavior, false};
}

// \w+|[^\w\s]+ with the tables of added tokens and of WhitespaceSplit.
Pattern words_and_marks() {
  PatternNode both{.kind = PatternNode::Kind::choice};
  CodePointSet words, marks = white_characters();
  for (char32_t c = 0; c < CodePointSet::end; ++c)
    if (character_classes(c) & word) words.add(c);
  marks.add(words);
  marks.invert();
  for (CodePointSet* set : {&words, &marks}) {
    PatternNode run{.kind = PatternNode::Kind::repeat, .least = 1, .most = PatternNode::unlimited};
    run.parts.push_back(
        {.kind = PatternNode::Kind::set, .set = std::make_shared<const CodePointSet>(std::move(*set))});
    both.parts.push_back(std::move(run));
  }
  return Pattern(both);
}

// A character of the file that stands for a space or separates.
std::string character_of(const Part& part) {
  const std::string text = part.text();
  if (text.empty() || character_at(text, 0).end != text.size())
    part.refuse("is {}, where one character is expected", part.shown());
  return text;
}

void read_metaspace(const Part& part, std::vector<PreTokenizer::Step>& steps) {
  expect_keys(part, {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  const std::string scheme = part.has("prepend_scheme") ? part.at("prepend_scheme").text() : "always";
  if (!part.at("add_prefix_space").flag(true) && scheme != "never")
    part.at("add_prefix_space").refuse("is false, where prepend_scheme must be \"never\", too. Say so there");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    part.at("prepend_scheme").refuse("is {}, where always, first or never is expected", scheme);
  const std::string replacement = character_of(part.at("replacement"));
  steps.push_back(Metaspace{replacement, scheme == "always"  ? Metaspace::Scheme::always
                                         : scheme == "first" ? Metaspace::Scheme::first
                                                             : Metaspace::Scheme::never});
  if (part.at("split").flag(true))
    steps.push_back(Split(Pattern::of_text(replacement), Behavior::merged_with_next, false));
}

void read_steps(const Part& part, std::vector<PreTokenizer::Step>& steps) {
  const std::string type = part.at("type").text();
  if (type == "Sequence") {
    expect_keys(part, {"type", "pretokenizers"});
    for (const Part& item : part.at("pretokenizers").items()) read_steps(item, steps);
  } else if (type == "ByteLevel") {
    expect_keys(part, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
    for (const PreTokenizer::Step& step : steps)
      if (std::holds_alternative<PreTokenizer::ByteCharacters>(step))
        part.refuse(
            "is a second ByteLevel, which would write the characters of the first one as bytes. Remove it");
    if (part.at("add_prefix_space").flag(true)) steps.push_back(PreTokenizer::PrefixSpace{});
    if (part.at("use_regex").flag(true))
      steps.push_back(Split(KnownPattern::gpt2(), Behavior::isolated, false));
    steps.push_back(PreTokenizer::ByteCharacters{});
  } else if (type == "Split") {
    expect_keys(part, {"type", "pattern", "behavior", "invert"});
    steps.push_back(Split(split_pattern(part.at("pattern")), behavior_of(part.at("behavior")),
                          part.at("invert").flag(false)));
  } else if (type == "Digits") {
    expect_keys(part, {"type", "individual_digits"});
    const bool each = part.at("individual_digits").flag(false);
    steps.push_back(at_each(numeric_characters(), each ? Behavior::isolated : Behavior::contiguous));
  } else if (type == "Punctuation") {
    expect_keys(part, {"type", "behavior"});
    steps.push_back(at_each(punctuation_characters(),
                            part.has("behavior") ? behavior_of(part.at("behavior")) : Behavior::isolated));
  } else if (type == "Metaspace") {
    read_metaspace(part, steps);
  } else if (type == "Whitespace") {
    expect_keys(part, {"type"});
    steps.push_back(Split(words_and_marks(), Behavior::removed, /*invert=*/true));
  } else if (type == "WhitespaceSplit") {
    expect_keys(part, {"type"});
    steps.push_back(at_each(white_characters(), Behavior::removed));
  } else if (type == "BertPreTokenizer") {
    expect_keys(part, {"type"});
    steps.push_back(at_each(white_characters(), Behavior::removed));
    steps.push_back(at_each(punctuation_characters(), Behavior::isolated));
  } else if (type == "CharDelimiterSplit") {
    expect_keys(part, {"type", "delimiter"});
    steps.push_back(Split(Pattern::of_text(character_of(part.at("delimiter"))), Behavior::removed, false));
  } else {
    part.at("type").refuse(
        "is {}, which cannot be used; ByteLevel, Split, Digits, Punctuation, Metaspace, Whitespace, "
        "WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit and a Sequence of them can. Describe the same "
        "cuts by a Split",
        type);
  }
}

}  // namespace

std::array<char32_t, 256> byte_characters() {
  std::array<char32_t, 256> characters;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < characters.size(); ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    characters[byte] = printable ? byte : next++;
  }
  return characters;
}

void append_byte_characters(std::string_view text, std::string& out) {
  static const std::array<char32_t, 256> characters = byte_characters();
  for (const char byte : text) append_utf8(characters[static_cast<unsigned char>(byte)], out);
}

std::string_view PreTokenizer::written(const Step& step, std::string_view text, bool at_start,
                                       std::string& buffer) {
  if (std::holds_alternative<PrefixSpace>(step)) {
    if (text.starts_with(' ')) return text;
    return buffer.assign(" ").append(text);
  }
  buffer.clear();
  if (const auto* metaspace = std::get_if<Metaspace>(&step)) {
    const std::string& replacement = metaspace->replacement;
    const bool prepends = metaspace->scheme == Metaspace::Scheme::always ||
                          (metaspace->scheme == Metaspace::Scheme::first && at_start);
    if (prepends && !text.starts_with(' ') && !text.starts_with(replacement)) buffer += replacement;
    for (const char c : text) c == ' ' ? buffer += replacement : buffer += c;
    return buffer;
  }
  append_byte_characters(text, buffer);
  return buffer;
}

PreTokenizer read_pre_tokenizer(const common::JsonPart& part) {
  PreTokenizer all;
  if (!part.is_null()) read_steps(part, all.steps);
  return all;
}

}  // namespace sisa::data::bpe
