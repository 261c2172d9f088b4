// A prepared dataset: a folder of token files with a manifest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/manifest.h"
#include "data/token_file.h"

namespace sisa::data {

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
