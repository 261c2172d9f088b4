// Our token files: a header of 64 bytes, then the ids, all little-endian.
//
//   offset  type    field
//        0  char[8] magic "SISATOK\n"
//        8  uint32  version, 1
//       12  uint32  bytes per token: 2 for vocabularies up to 65,536, otherwise 4
//       16  uint64  vocabulary size; every id is below it
//       24  uint64  tokens
//       32  uint64  documents
//       40  uint64  UTF-8 bytes of the text that the tokens stand for
//       48  uint64  XXH3-64 of the ids' bytes
//       56  uint64  XXH3-64 of the 56 bytes above
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <utility>

#include "common/file.h"
#include "common/hash.h"
#include "data/tokens/token_array.h"

namespace sisa::data {

struct TokenFileInfo {
  int64_t vocab_size = 0;
  int64_t tokens = 0;
  int64_t documents = 0;
  int64_t text_bytes = 0;
  uint64_t checksum = 0;  // of the ids' bytes

  int64_t bytes_per_token() const { return vocab_size <= 65536 ? 2 : 4; }
  bool operator==(const TokenFileInfo&) const = default;
};

// Writes a token file under a temporary name and renames it in finish(), so that a file with its final name
// is complete. If finish() is not called, the temporary file is removed.
class TokenFileWriter {
 public:
  // Throws Error if the file cannot be created.
  TokenFileWriter(std::filesystem::path path, int64_t vocab_size);
  TokenFileWriter(const TokenFileWriter&) = delete;
  TokenFileWriter& operator=(const TokenFileWriter&) = delete;
  ~TokenFileWriter();
  // Appends ids, each below the vocabulary size. Throws SystemError if the disk is full.
  void append(std::span<const uint32_t> ids);
  // Adds to the numbers of documents and of bytes of text in the header.
  void count(int64_t documents, int64_t text_bytes) {
    info_.documents += documents, info_.text_bytes += text_bytes;
  }
  const TokenFileInfo& info() const { return info_; }
  // Writes the header, forces the file to the disk and gives it its name. Throws SystemError.
  TokenFileInfo finish();

 private:
  std::filesystem::path path_, temporary_;
  std::ofstream file_;
  TokenFileInfo info_;
  common::Hasher hasher_;
  bool published_ = false;
};

// An open token file. Opening checks the header and the length and throws Error with the file's name and what
// is wrong with it.
class TokenFile {
 public:
  explicit TokenFile(const std::filesystem::path& path);
  const TokenFileInfo& info() const { return info_; }
  const TokenArray& ids() const& { return ids_; }
  TokenArray ids() && { return std::move(ids_); }

 private:
  TokenFile(const std::filesystem::path& path, common::InputFile file);
  TokenFileInfo info_;
  TokenArray ids_;
};

// Reads all ids of a file. Throws Error if one is outside the vocabulary, with its offset, or if the checksum
// is wrong.
void verify(const TokenArray& ids, const TokenFileInfo& info);

}  // namespace sisa::data
