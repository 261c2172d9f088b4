#include "launcher/commands/dataset_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "common/quantity.h"
#include "common/text.h"
#include "launcher/run/reporter.h"

namespace sisa::launcher {

using common::format_bytes;
using common::format_count;

namespace {

std::string describe_split(const data::TokenDataset& dataset) {
  std::string text = fmt::format("{} tokens", format_count(dataset.tokens()));
  if (dataset.documents() > 0 || dataset.has_manifest())
    text += fmt::format(" of {} documents", format_count(dataset.documents()));
  if (dataset.has_manifest())
    text += fmt::format(", {} of text", format_bytes(static_cast<double>(dataset.text_bytes())));
  return text + " in " + common::counted(dataset.num_files(), "file");
}

std::string describe_sources(const data::Manifest& manifest, bool held_out) {
  std::string text;
  for (const auto& source : manifest.sources)
    if (source.held_out == held_out) text += (text.empty() ? "" : ", ") + source.file;
  return text;
}

// The files in which no document was found, as in one whose download failed; "": none, or it is not known.
std::string describe_empty(const data::Manifest& manifest) {
  const auto empty = [](const auto& source) { return source.documents == 0; };
  const auto& sources = manifest.sources;
  const auto count = std::count_if(sources.begin(), sources.end(), empty);
  if (count == 0 || count == static_cast<int64_t>(sources.size())) return "";  // format 1 has no counts
  return fmt::format("{} of {} files hold no document, first {}", count, sources.size(),
                     std::find_if(sources.begin(), sources.end(), empty)->file);
}

// What is held out, and how long its documents are: validation on shorter ones than training has says little.
std::string describe_held_out(const data::TokenDataset& train, const data::TokenDataset& validation) {
  const std::string own = describe_sources(train.manifest(), true);
  const auto tokens = static_cast<double>(train.tokens() + validation.tokens());
  const auto length = [](const data::TokenDataset& split) {
    return format_count(split.tokens() / std::max<int64_t>(1, split.documents()));
  };
  std::string text = own.empty() ? fmt::format("{}% asked for", 100 * train.manifest().validation) : own;
  if (validation.tokens() > 0)
    text += fmt::format(": {:.2f}% of the tokens, {} a document on average, and {} in train",
                        100 * static_cast<double>(validation.tokens()) / tokens, length(validation),
                        length(train));
  return text;
}

}  // namespace

std::string dataset_table(const data::TokenDataset& train, const data::TokenDataset& validation) {
  Rows rows = {{"kind", train.kind()}};
  if (train.has_manifest())
    rows.insert(rows.end(), {{"tokenizer", train.manifest().tokenizer},
                             {"vocabulary", format_count(train.manifest().vocab_size)},
                             {"sources", describe_sources(train.manifest(), false)}});
  if (!train.remark().empty()) rows.emplace_back("says", train.remark());
  rows.emplace_back(data::split_name(data::Split::train), describe_split(train));
  rows.emplace_back(data::split_name(data::Split::validation), describe_split(validation));
  if (!train.has_manifest()) {
    if (validation.tokens() == 0)
      rows.emplace_back("held out",
                        "no file's name says so: a run takes the last data.validation of the tokens");
    return boxed_table(train.path().string(), rows);
  }
  const data::Manifest& manifest = train.manifest();
  rows.emplace_back("held out", describe_held_out(train, validation));
  if (manifest.cut_tokens > 0)
    rows.emplace_back(
        "lost",
        fmt::format("{} tokens ({:.1f}%) of long held-out documents are in neither split; prepared "
                    "anew, none are lost",
                    format_count(manifest.cut_tokens),
                    100.0 * static_cast<double>(manifest.cut_tokens) /
                        static_cast<double>(train.tokens() + validation.tokens() + manifest.cut_tokens)));
  if (manifest.held_out_copies > 0)
    rows.emplace_back("copies", fmt::format("{} documents with the text of a held-out one, not trained on",
                                            format_count(manifest.held_out_copies)));
  if (const std::string empty = describe_empty(manifest); !empty.empty()) rows.emplace_back("empty", empty);
  if (manifest.duplicate_documents)
    rows.emplace_back("repeated", fmt::format("{} documents with the text of another, dropped",
                                              format_count(*manifest.duplicate_documents)));
  if (manifest.skipped_documents > 0) {
    rows.emplace_back("skipped", fmt::format("{} documents that could not be read",
                                             format_count(manifest.skipped_documents)));
    if (!manifest.first_skipped.empty()) rows.emplace_back("the first", manifest.first_skipped);
  }
  return boxed_table(train.path().string(), rows);
}

std::string dataset_table(const std::filesystem::path& path) {
  return dataset_table(data::TokenDataset::open(path, data::Split::train),
                       data::TokenDataset::open(path, data::Split::validation));
}

}  // namespace sisa::launcher
