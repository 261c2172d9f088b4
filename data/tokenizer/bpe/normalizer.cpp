#include "data/tokenizer/bpe/normalizer.h"

#include <utility>

#include "common/error.h"
#include "data/tokenizer/bpe/file_part.h"
#include "data/tokenizer/bpe/pre_tokenizer.h"
#include "data/tokenizer/code_point_set.h"
#include "data/tokenizer/unicode.h"

namespace sisa::data::bpe {
namespace {

using Part = common::JsonPart;

std::string_view strip(std::string_view text, const Normalizer::Strip& sides) {
  const CodePointSet& white = white_characters();
  while (sides.left && !text.empty()) {
    const auto [code, end] = character_at(text, 0);
    if (!white.contains(code)) break;
    text.remove_prefix(end);
  }
  while (sides.right && !text.empty()) {
    const auto [code, begin] = character_before(text, text.size());
    if (!white.contains(code)) break;
    text = text.substr(0, begin);
  }
  return text;
}

void read_steps(const Part& part, std::vector<Normalizer::Step>& steps) {
  const std::string type = part.at("type").text();
  if (type == "Sequence") {
    expect_keys(part, {"type", "normalizers"});
    for (const Part& item : part.at("normalizers").items()) read_steps(item, steps);
    return;
  }
  for (const auto& [name, form] :
       {std::pair("NFC", NormalizationForm::nfc), std::pair("NFD", NormalizationForm::nfd),
        std::pair("NFKC", NormalizationForm::nfkc), std::pair("NFKD", NormalizationForm::nfkd)})
    if (type == name) {
      expect_keys(part, {"type"});
      return steps.push_back(Normalizer::Form{form});
    }
  if (type == "Replace") {
    expect_keys(part, {"type", "pattern", "content"});
    steps.push_back(Normalizer::Replace{read_pattern(part.at("pattern")), part.at("content").text()});
  } else if (type == "Prepend") {
    expect_keys(part, {"type", "prepend"});
    steps.push_back(Normalizer::Prepend{part.at("prepend").text()});
  } else if (type == "Strip") {
    expect_keys(part, {"type", "strip_left", "strip_right"});
    steps.push_back(Normalizer::Strip{part.at("strip_left").flag(true), part.at("strip_right").flag(true)});
  } else if (type == "Lowercase") {
    expect_keys(part, {"type"});
    steps.push_back(Normalizer::LowerCase{});
  } else if (type == "ByteLevel") {
    expect_keys(part, {"type"});
    steps.push_back(Normalizer::ByteCharacters{});
  } else {
    part.at("type").refuse(
        "is {}, which cannot be used; NFC, NFD, NFKC, NFKD, Replace, Prepend, Strip, Lowercase, ByteLevel "
        "and a "
        "Sequence of them can. Normalise the text itself that way and set the normalizer to null",
        type);
  }
}

}  // namespace

std::string_view Normalizer::apply(std::string_view text, Memory& memory, bool& at_start) const {
  if (memory.texts.size() < steps.size()) memory.texts.resize(steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    std::string& buffer = memory.texts[i];
    const Step& step = steps[i];
    if (const auto* form = std::get_if<Form>(&step)) {
      text = normalized(text, form->form, buffer);
    } else if (const auto* replace = std::get_if<Replace>(&step)) {
      buffer.clear();
      size_t done = 0;
      for_each_match(replace->pattern, text, memory.pattern, [&](size_t begin, size_t end) {
        if (begin == 0 && end > 0 && replace->content.empty()) at_start = false;
        buffer.append(text.substr(done, begin - done)).append(replace->content);
        done = end;
      });
      text = buffer.append(text.substr(done));
    } else if (const auto* prepend = std::get_if<Prepend>(&step)) {
      if (!text.empty()) text = buffer.assign(prepend->text).append(text);
    } else if (const auto* sides = std::get_if<Strip>(&step)) {
      const std::string_view left = strip(text, *sides);
      at_start &= left.data() == text.data();
      text = left;
    } else if (std::holds_alternative<LowerCase>(step)) {
      text = lower_case(text, buffer);
    } else {
      buffer.clear();
      append_byte_characters(text, buffer);
      text = buffer;
    }
  }
  return text;
}

Normalizer read_normalizer(const common::JsonPart& part) {
  Normalizer all;
  if (!part.is_null()) read_steps(part, all.steps);
  return all;
}

}  // namespace sisa::data::bpe
