#include "launcher/commands/dataset_table.h"

#include <fmt/format.h>

#include <vector>

#include "common/quantity.h"
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
  return text + fmt::format(" in {} file{}", dataset.num_files(), dataset.num_files() == 1 ? "" : "s");
}

std::string describe_sources(const std::vector<data::Manifest::Source>& sources) {
  std::string text;
  for (const auto& source : sources) text += (text.empty() ? "" : ", ") + source.file;
  return text;
}

}  // namespace

std::string dataset_table(const data::TokenDataset& train, const data::TokenDataset& validation) {
  Rows rows = {{"kind", train.kind()}};
  if (train.has_manifest())
    rows.insert(rows.end(), {{"tokenizer", train.manifest().tokenizer},
                             {"vocabulary", format_count(train.manifest().vocab_size)},
                             {"sources", describe_sources(train.manifest().sources)}});
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
  rows.emplace_back("held out", fmt::format("{}% asked for", 100 * manifest.validation));
  if (manifest.cut_tokens > 0)
    rows.emplace_back("cut", fmt::format("{} tokens at the ends of long held-out documents, in neither split",
                                         format_count(manifest.cut_tokens)));
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
