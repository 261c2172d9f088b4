// What a prepared dataset holds.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/tokens/token_file.h"

namespace sisa::data {

enum class Split { train, validation };
std::string split_name(Split split);  // "train" or "validation"

// What `sisa data prepare` leaves as manifest.json, the last file it writes: a folder without one is no
// dataset.
struct Manifest {
  struct Shard {
    std::string file;  // beside the manifest
    TokenFileInfo info;
  };
  struct Source {      // an input
    std::string file;  // its name, for people
    // Read from it, whatever became of them; 0 in manifests of format 1, which do not say.
    int64_t documents = 0, text_bytes = 0;
  };
  std::string tokenizer;  // Tokenizer::fingerprint()
  int64_t vocab_size = 0;
  int64_t end_of_document = 0;
  double validation = 0;                       // the share that was asked for
  int64_t skipped_documents = 0;               // could not be read
  std::string first_skipped;                   // file, line and what is wrong with the first
  std::optional<int64_t> duplicate_documents;  // dropped; absent if none were looked for
  int64_t cut_tokens = 0;                      // of held-out documents beyond their cap: in no split
  std::vector<Source> sources;
  std::vector<Shard> train, validation_shards;

  const std::vector<Shard>& shards(Split split) const {
    return split == Split::train ? train : validation_shards;
  }
};

bool is_dataset(const std::filesystem::path& folder);
// Throws Error if the folder has no manifest, or one that this version cannot read.
Manifest read_manifest(const std::filesystem::path& folder);
void write_manifest(const std::filesystem::path& folder, const Manifest& manifest);

}  // namespace sisa::data
