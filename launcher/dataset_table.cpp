#include "launcher/dataset_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include "common/quantity.h"
#include "data/dataset.h"
#include "launcher/reporter.h"

namespace sisa::launcher {

using common::format_bytes;
using common::format_count;

namespace {

std::string describe_split(const std::filesystem::path& folder, data::Split split) {
  const auto dataset = data::TokenDataset::open(folder, split);
  return fmt::format("{} tokens of {} documents, {} of text in {} files", format_count(dataset.tokens()),
                     format_count(dataset.documents()),
                     format_bytes(static_cast<double>(dataset.text_bytes())),
                     dataset.manifest().shards(split).size());
}

}  // namespace

std::string dataset_table(const std::filesystem::path& folder) {
  const data::Manifest manifest = data::read_manifest(folder);
  Rows rows = {{"tokenizer", manifest.tokenizer},
               {"vocabulary", format_count(manifest.vocab_size)},
               {"sources", fmt::format("{}", fmt::join(manifest.sources, ", "))}};
  for (const data::Split split : {data::Split::train, data::Split::validation})
    rows.emplace_back(data::split_name(split), describe_split(folder, split));
  rows.emplace_back("held out", fmt::format("{}% asked for", 100 * manifest.validation));
  if (manifest.skipped_documents > 0)
    rows.emplace_back("skipped", fmt::format("{} documents that could not be read",
                                             format_count(manifest.skipped_documents)));
  return boxed_table(folder.string(), rows);
}

}  // namespace sisa::launcher
