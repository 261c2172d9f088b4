#include "data/tokens/manifest.h"

#include <exception>
#include <nlohmann/json.hpp>
#include <system_error>

#include "common/error.h"
#include "common/file.h"
#include "common/hash.h"

namespace sisa::data {
namespace {

using nlohmann::ordered_json;
constexpr int format = 2;  // format 1 lacks the fields read by value() below, and its sources are names

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

std::vector<Manifest::Shard> shards_from_json(const ordered_json& list, int64_t vocab_size) {
  std::vector<Manifest::Shard> shards;
  for (const ordered_json& item : list) {
    Manifest::Shard shard{item.at("file"), {}};
    shard.info.vocab_size = vocab_size;
    shard.info.tokens = item.at("tokens");
    shard.info.documents = item.at("documents");
    shard.info.text_bytes = item.at("text_bytes");
    shard.info.checksum = std::stoull(item.at("checksum").get<std::string>(), nullptr, 16);
    shards.push_back(shard);
  }
  return shards;
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
  try {
    const auto json = ordered_json::parse(common::read_file(manifest_path(folder)));
    if (json.at("format") != 1 && json.at("format") != format)
      throw Error("{} has format {}, but this program reads formats 1 to {}. Prepare the data again.",
                  manifest_path(folder).string(), json.at("format").dump(), format);
    Manifest m;
    m.tokenizer = json.at("tokenizer");
    m.vocab_size = json.at("vocab_size");
    m.end_of_document = json.at("end_of_document");
    m.validation = json.at("validation");
    m.skipped_documents = json.at("skipped_documents");
    m.first_skipped = json.value("first_skipped", "");
    if (const auto duplicates = json.find("duplicate_documents"); duplicates != json.end())
      m.duplicate_documents = duplicates->get<int64_t>();
    m.cut_tokens = json.value("cut_tokens", int64_t{0});
    for (const ordered_json& source : json.at("sources"))
      m.sources.push_back(source.is_string() ? Manifest::Source{source}
                                             : Manifest::Source{source.at("file"), source.at("documents"),
                                                                source.at("text_bytes")});
    m.train = shards_from_json(json.at("splits").at("train"), m.vocab_size);
    m.validation_shards = shards_from_json(json.at("splits").at("validation"), m.vocab_size);
    return m;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {  // from the JSON library, or from a checksum that is not a number
    throw Error("{} cannot be read as a manifest: {}. Prepare the data again.",
                manifest_path(folder).string(), error.what());
  }
}

void write_manifest(const std::filesystem::path& folder, const Manifest& m) {
  ordered_json sources = ordered_json::array();
  for (const auto& [file, documents, text_bytes] : m.sources)
    sources.push_back({{"file", file}, {"documents", documents}, {"text_bytes", text_bytes}});
  ordered_json json = {{"format", format},           {"tokenizer", m.tokenizer},
                       {"vocab_size", m.vocab_size}, {"end_of_document", m.end_of_document},
                       {"validation", m.validation}, {"skipped_documents", m.skipped_documents}};
  if (!m.first_skipped.empty()) json["first_skipped"] = m.first_skipped;
  if (m.duplicate_documents) json["duplicate_documents"] = *m.duplicate_documents;
  json["cut_tokens"] = m.cut_tokens;
  json["sources"] = sources;
  json["splits"] = {{"train", to_json(m.train)}, {"validation", to_json(m.validation_shards)}};
  // JSON is UTF-8, but names of files need not be.
  common::write_file_atomically(manifest_path(folder),
                                json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace sisa::data
