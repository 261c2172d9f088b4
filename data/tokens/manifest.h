// The description of a prepared dataset: the file manifest.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/split.h"
#include "data/tokens/token_file.h"

namespace sisa::data {

// `sisa data prepare` writes manifest.json last, so that a folder without one is not a dataset.
struct Manifest {
  struct Shard {
    std::string file;  // name, in the folder of the manifest
    TokenFileInfo info;
  };
  struct Source {      // an input of the preparation
    std::string file;  // its name, for people
    // What was read from it, before any documents were dropped; 0 in manifests of format 1, which do not say.
    int64_t documents = 0, text_bytes = 0;
    bool held_out = false;  // as a whole
  };
  std::string tokenizer;  // Tokenizer::fingerprint()
  int64_t vocab_size = 0;
  int64_t end_of_document = 0;
  double validation = 0;                       // the share to hold out that was asked for
  int64_t skipped_documents = 0;               // those that could not be read
  std::string first_skipped;                   // the first of them: file, line and what is wrong with it
  std::optional<int64_t> duplicate_documents;  // dropped ones; absent if none were looked for
  int64_t held_out_copies = 0;                 // documents with the text of one that is held out, dropped
  int64_t cut_tokens = 0;  // tokens in no split: former versions cut them off from held-out documents
  std::vector<Source> sources;
  std::vector<Shard> train, validation_shards;

  const std::vector<Shard>& shards(Split split) const {
    return split == Split::train ? train : validation_shards;
  }
};

bool is_dataset(const std::filesystem::path& folder);
// Throws Error if the folder has no manifest or one that this version cannot read.
Manifest read_manifest(const std::filesystem::path& folder);
void write_manifest(const std::filesystem::path& folder, const Manifest& manifest);

}  // namespace sisa::data
