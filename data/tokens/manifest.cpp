#include "data/tokens/manifest.h"

#include <nlohmann/json.hpp>
#include <system_error>

#include "common/error.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/json.h"

namespace sisa::data {
namespace {

using nlohmann::ordered_json;
constexpr int format = 2;  // format 1 lacks the fields that need not be there, and its sources are names

std::filesystem::path manifest_path(const std::filesystem::path& folder) {
  return folder / "manifest.json";
}

ordered_json to_json(const std::vector<Manifest::Shard>& shards) {
  ordered_json list = ordered_json::array();
  for (const auto& [file, info] : shards)
    list.push_back({{"file", file},
                    {"tokens", info.tokens},
                    {"documents", info.documents},
                    {"text_bytes", info.text_bytes},
                    {"checksum", common::hash_hex(info.checksum)}});
  return list;
}

// Vocabularies whose ids fit the 4 bytes of a token file, and counts whose sums fit int64.
constexpr int64_t most_ids = int64_t{1} << 32, most_counted = int64_t{1} << 50;

std::vector<Manifest::Shard> shards_of(const common::JsonPart& list, int64_t vocab_size) {
  std::vector<Manifest::Shard> shards;
  for (const common::JsonPart& item : list.items()) {
    Manifest::Shard shard{item.at("file").text(), {}};
    if (shard.file.empty() || shard.file.find('/') != std::string::npos || shard.file.starts_with('.'))
      item.at("file").refuse("is {}, where the name of a file beside the manifest is expected",
                             item.at("file").shown());
    shard.info.vocab_size = vocab_size;
    shard.info.tokens = item.at("tokens").integer(0, most_counted);
    shard.info.documents = item.at("documents").integer(0, most_counted);
    shard.info.text_bytes = item.at("text_bytes").integer(0, most_counted);
    shard.info.checksum = item.at("checksum").hash();
    shards.push_back(shard);
  }
  return shards;
}

Manifest::Source source_of(const common::JsonPart& source) {
  if (source.value().is_string()) return {source.text()};  // format 1
  return {source.at("file").text(), source.at("documents").integer(0, most_counted),
          source.at("text_bytes").integer(0, most_counted), source.at("held_out").flag(false)};
}

Manifest manifest_of(const common::JsonPart& root) {
  if (const common::JsonPart found = root.at("format"); found.value() != 1 && found.value() != format)
    root.refuse("has format {}, but this program reads formats 1 to {}", found.shown(), format);
  Manifest m;
  m.tokenizer = root.at("tokenizer").text();
  m.vocab_size = root.at("vocab_size").integer(1, most_ids);
  m.end_of_document = root.at("end_of_document").integer(0, m.vocab_size - 1);
  m.validation = root.at("validation").number();
  m.skipped_documents = root.at("skipped_documents").integer(0, most_counted);
  if (root.has("first_skipped")) m.first_skipped = root.at("first_skipped").text();
  if (root.has("duplicate_documents"))
    m.duplicate_documents = root.at("duplicate_documents").integer(0, most_counted);
  if (root.has("held_out_copies")) m.held_out_copies = root.at("held_out_copies").integer(0, most_counted);
  if (root.has("cut_tokens")) m.cut_tokens = root.at("cut_tokens").integer(0, most_counted);
  for (const common::JsonPart& source : root.at("sources").items()) m.sources.push_back(source_of(source));
  m.train = shards_of(root.at("splits").at("train"), m.vocab_size);
  m.validation_shards = shards_of(root.at("splits").at("validation"), m.vocab_size);
  return m;
}

}  // namespace

bool is_dataset(const std::filesystem::path& folder) {
  std::error_code unreachable;  // so that an inaccessible path does not throw a filesystem_error
  return std::filesystem::exists(manifest_path(folder), unreachable);
}

Manifest read_manifest(const std::filesystem::path& folder) {
  std::error_code unreachable;
  if (!std::filesystem::exists(folder, unreachable))
    throw Error("There is no dataset {}: {}.", folder.string(),
                unreachable ? unreachable.message() : "no such folder");
  if (!is_dataset(folder))
    throw Error(
        "{} is no prepared dataset: it holds no manifest.json. Make one with `sisa data prepare TEXT "
        "--output FOLDER`.",
        folder.string());
  const std::string name = manifest_path(folder).string();
  try {
    const auto json = common::parse_json<nlohmann::json>(common::read_file(name), name);
    return manifest_of({json, name + ": "});
  } catch (const common::JsonError& error) {
    throw Error("{}. Prepare the data again.", error.what());
  }
}

void write_manifest(const std::filesystem::path& folder, const Manifest& m) {
  ordered_json sources = ordered_json::array();
  for (const auto& [file, documents, text_bytes, held_out] : m.sources) {
    sources.push_back({{"file", file}, {"documents", documents}, {"text_bytes", text_bytes}});
    if (held_out) sources.back()["held_out"] = true;
  }
  ordered_json json = {{"format", format},           {"tokenizer", m.tokenizer},
                       {"vocab_size", m.vocab_size}, {"end_of_document", m.end_of_document},
                       {"validation", m.validation}, {"skipped_documents", m.skipped_documents}};
  if (!m.first_skipped.empty()) json["first_skipped"] = m.first_skipped;
  if (m.duplicate_documents) json["duplicate_documents"] = *m.duplicate_documents;
  if (m.held_out_copies > 0) json["held_out_copies"] = m.held_out_copies;
  if (m.cut_tokens > 0) json["cut_tokens"] = m.cut_tokens;
  json["sources"] = sources;
  json["splits"] = {{"train", to_json(m.train)}, {"validation", to_json(m.validation_shards)}};
  // JSON is UTF-8, but names of files need not be.
  common::write_file_atomically(manifest_path(folder),
                                json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace sisa::data
