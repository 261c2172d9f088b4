// A prepared dataset: a folder of token files with a manifest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
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

// The tokens of one split as one sequence, mapped into memory.
class TokenDataset {
 public:
  // Throws Error naming the file if a shard is missing, damaged in its header or not the one of the manifest.
  static TokenDataset open(const std::filesystem::path& folder, Split split);

  int64_t tokens() const { return starts_.back(); }
  int64_t documents() const;
  int64_t text_bytes() const;  // UTF-8 bytes of the text that the tokens stand for
  const Manifest& manifest() const { return manifest_; }
  const std::filesystem::path& folder() const { return folder_; }
  // Of the content: equal for equal tokens, wherever the folder lies.
  std::string fingerprint() const;

  // Copies the tokens [first, first + out.size()), which the split must hold, across files. Throws Error,
  // with file and offset, on an id outside the vocabulary.
  void read(int64_t first, std::span<int64_t> out) const;
  // Reads every file whole. Throws Error if ids or a checksum are wrong.
  void verify() const;

 private:
  std::filesystem::path folder_;
  Manifest manifest_;
  Split split_ = Split::train;
  std::vector<TokenFile> files_;
  std::vector<int64_t> starts_ = {0};  // of each file within the sequence, and the end
};

}  // namespace sisa::data
