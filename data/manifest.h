// What a prepared dataset holds.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/token_file.h"

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
  std::string tokenizer;  // Tokenizer::fingerprint()
  int64_t vocab_size = 0;
  int64_t end_of_document = 0;
  double validation = 0;             // the share that was asked for
  int64_t skipped_documents = 0;     // could not be read
  std::vector<std::string> sources;  // file names, for people
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
