#include "launcher/commands/data_inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/quantity.h"
#include "data/tokenizer/make_tokenizer.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokens/dataset.h"
#include "data/tokens/inspect.h"
#include "launcher/commands/dataset_table.h"
#include "launcher/commands/on_root.h"

namespace sisa::launcher {

using common::format_count;

namespace {

using TokenizerPointer = std::unique_ptr<data::Tokenizer>;

// That of a folder of `sisa data prepare`; null if only its fingerprint is known, or not even that.
TokenizerPointer own_tokenizer(const data::TokenDataset& dataset) {
  if (!dataset.has_manifest()) return nullptr;
  const std::filesystem::path file = dataset.path() / "tokenizer.json";
  for (const std::string& name : {std::string("bytes"), file.string()}) {
    if (name != "bytes" && !std::filesystem::exists(file)) continue;
    if (auto tokenizer = data::make_tokenizer(name); tokenizer->fingerprint() == dataset.manifest().tokenizer)
      return tokenizer;
  }
  return nullptr;
}

void check_made_with(const data::TokenDataset& dataset, const data::Tokenizer& tokenizer) {
  if (dataset.has_manifest() && dataset.manifest().tokenizer != tokenizer.fingerprint())
    throw Error("{} was made with the tokenizer {}, not with {}. Name that one, or none.",
                dataset.path().string(), dataset.manifest().tokenizer, tokenizer.fingerprint());
}

// Throws Error if something is wrong.
std::string check(const data::TokenDataset& dataset, const data::Tokenizer* tokenizer) {
  if (dataset.has_manifest()) {
    dataset.verify();
    return "every checksum and token id is right";
  }
  std::string text = fmt::format("every id was read, the largest is {}",
                                 format_count(dataset.largest_id(0, dataset.tokens())));
  std::optional<int64_t> delimiter = dataset.delimiter();
  if (tokenizer != nullptr) delimiter = tokenizer->end_of_document();
  if (dataset.documents() == 0 && delimiter)
    text +=
        fmt::format("; {} documents, as the id {} says", format_count(dataset.count(*delimiter)), *delimiter);
  return text;
}

std::string window(const data::TokenDataset& dataset, const data::Tokenizer* tokenizer, int64_t first,
                   int64_t count) {
  if (first >= dataset.tokens()) return fmt::format("there is no token {}", format_count(first));
  return (first == 0 ? "it begins " : fmt::format("from token {} on ", format_count(first))) +
         (tokenizer != nullptr ? data::preview(dataset, *tokenizer, first, count)
                               : data::preview_ids(dataset, first, count));
}

std::string counts(const data::TokenDataset& dataset, const data::Tokenizer* tokenizer) {
  constexpr int64_t num_shown = 12;
  const data::TokenCounts counts = data::count_tokens(dataset, num_shown);
  std::vector<std::string> items;
  for (const auto& [id, times] : counts.most_frequent) {
    const double percent = 100 * static_cast<double>(times) / static_cast<double>(dataset.tokens());
    const std::string text = tokenizer != nullptr
                                 ? data::quoted(tokenizer->decode_continuation({{static_cast<uint32_t>(id)}}))
                                 : "";
    items.push_back(fmt::format("{}{}{} {:.2f}%", id, text.empty() ? "" : " ", text, percent));
  }
  return fmt::format("most frequent: {}; {} of {} ids never occur", fmt::join(items, ", "),
                     format_count(counts.unused), format_count(counts.vocabulary));
}

}  // namespace

void add_options(Options& options, DataInspectArguments& arguments) {
  options.describe("Describe, check and show tokens: of `prepare`, llm.c, Megatron-LM or the published code");
  options.add("PATH", arguments.path, "PATH", "folder of tokens, a .bin, or a Megatron-LM prefix").required();
  options.add("--tokenizer", arguments.tokenizer, "FILE|bytes",
              "bytes, or a tokenizer's file: shows text and not ids, and every id must be in its vocabulary "
              "[that of the folder, if it is there]");
  options.read("--split", "train|validation", "show train or validation only [both]",
               [&arguments](const std::string& text) {
                 if (text != "train" && text != "validation")
                   throw Error("'{}' is neither train nor validation.", text);
                 arguments.split = text == "train" ? data::Split::train : data::Split::validation;
               });
  options.whole("--first", arguments.first, "N", "the token to show from", 0, any_count).show_default();
  options.whole("--count", arguments.count, "N", "tokens to show", 1, 1 << 20).show_default();
  options.flag("--check,!--no-check", arguments.check,
               "read every id and compare checksums; --no-check: headers only [check]");
  options.flag("--counts", arguments.counts, "show the most frequent ids and how many never occur");
}

int run(const DataInspectArguments& arguments, const parallel::World& world) {
  return on_root(world, [&] {
    TokenizerPointer tokenizer;
    if (!arguments.tokenizer.empty()) tokenizer = data::make_tokenizer(arguments.tokenizer);
    const data::ForeignOptions options{.vocab_size =
                                           tokenizer ? tokenizer->vocab_size() : data::any_vocabulary};
    const auto train = data::TokenDataset::open(arguments.path, data::Split::train, options);
    const auto validation = data::TokenDataset::open(arguments.path, data::Split::validation, options);
    if (tokenizer)
      check_made_with(train, *tokenizer);
    else
      tokenizer = own_tokenizer(train);

    fmt::print("{}", dataset_table(train, validation));
    for (const auto& [split, dataset] :
         {std::pair(data::Split::train, &train), std::pair(data::Split::validation, &validation)}) {
      if (arguments.split.value_or(split) != split || dataset->tokens() == 0) continue;
      std::vector<std::string> facts;
      if (arguments.check) facts.push_back(check(*dataset, tokenizer.get()));
      facts.push_back(window(*dataset, tokenizer.get(), arguments.first, arguments.count));
      if (arguments.counts) facts.push_back(counts(*dataset, tokenizer.get()));
      fmt::print("{}: {}\n", data::split_name(split), fmt::join(facts, "; "));
    }
  });
}

}  // namespace sisa::launcher
