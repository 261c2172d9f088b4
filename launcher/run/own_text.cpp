#include "launcher/run/own_text.h"

#include <string>
#include <string_view>

#include "common/error.h"
#include "data/prepare/document_reader.h"
#include "data/tokenizer/make_tokenizer.h"
#include "data/tokens/dataset.h"
#include "data/tokens/formats/foreign.h"
#include "launcher/run/kept_tokenizer.h"

namespace sisa::launcher {
namespace {

void append_tokens(const data::TokenDataset& dataset, evaluation::OwnText& text) {
  const size_t before = text.tokens.size();
  text.tokens.resize(before + static_cast<size_t>(dataset.tokens()));
  dataset.read(0, {text.tokens.data() + before, static_cast<size_t>(dataset.tokens())});
  text.bytes += dataset.text_bytes();
}

evaluation::OwnText read_tokens(const std::filesystem::path& path, const Recipe& recipe,
                                const std::string& tokenizer) {
  evaluation::OwnText text{.name = path.string()};
  const auto open = [&](data::Split split) {
    return data::TokenDataset::open(path, split, {.vocab_size = recipe.model.vocab_size, .validation = 0});
  };
  const data::TokenDataset dataset = open(data::Split::train);
  if (dataset.has_manifest() && !tokenizer.empty() &&
      dataset.manifest().tokenizer != data::make_tokenizer(tokenizer)->fingerprint())
    throw Error("{} was made with the tokenizer {}, but the run's is {}. Prepare the text with that one.",
                path.string(), dataset.manifest().tokenizer, recipe.data.tokenizer);
  if (const auto delimiter = dataset.delimiter()) text.tokens.push_back(*delimiter);
  append_tokens(dataset, text);
  append_tokens(open(data::Split::validation), text);
  return text;
}

evaluation::OwnText read_text(const std::filesystem::path& path, const Recipe& recipe,
                              const std::string& name) {
  if (name.empty())
    throw Error("{} is text, but the run was trained on synthetic tasks alone, without a tokenizer.",
                path.string());
  const auto tokenizer = data::make_tokenizer(name);
  evaluation::OwnText text{.name = path.string(), .tokens = {tokenizer->end_of_document()}};
  std::vector<uint32_t> ids;
  data::read_file(path, {.document =
                             [&](std::string_view document) {
                               ids.clear();
                               tokenizer->encode(document, ids);
                               text.tokens.insert(text.tokens.end(), ids.begin(), ids.end());
                               text.tokens.push_back(tokenizer->end_of_document());
                               text.bytes += static_cast<int64_t>(document.size());
                             },
                         .bad =
                             [&](int64_t line, const std::string& reason, std::string_view advice) {
                               throw Error("{}, line {}, {}. {}", path.string(), line, reason, advice);
                             }});
  for (const int64_t id : text.tokens)
    if (id >= recipe.model.vocab_size)
      throw Error("{} has the token {}, but the model's vocabulary has {} tokens.", path.string(), id,
                  recipe.model.vocab_size);
  return text;
}

}  // namespace

evaluation::OwnText read_own_text(const std::filesystem::path& path, const Recipe& recipe,
                                  const RunFolder& folder) {
  if (!std::filesystem::exists(path))
    throw Error("{} does not exist. Name a text, or tokens of `sisa data prepare` or another program.",
                path.string());
  const std::string tokenizer = tokenizer_of(recipe, folder);
  evaluation::OwnText text =
      data::names_tokens(path) ? read_tokens(path, recipe, tokenizer) : read_text(path, recipe, tokenizer);
  if (text.tokens.size() < 2) throw Error("{} holds nothing to predict.", path.string());
  return text;
}

}  // namespace sisa::launcher
