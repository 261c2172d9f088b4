// Pieces: files with the tokens of one block each, which exist between tokenising and joining. Their
// structures are written as they are in memory, so that only the version of the program that wrote a piece
// can read it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/file.h"
#include "common/hash.h"

namespace sisa::data {

struct PieceDocument {
  common::Hash128 hash;  // of the text
  uint64_t input = 0;    // the index of its input
  uint64_t tokens = 0;   // including the end-of-document token
  uint64_t text_bytes = 0;
};

struct PieceInfo {
  uint64_t job = 0;           // the hash of Preparation::job()
  uint64_t content_hash = 0;  // of the block's text if it is from a pipe; 0 if it is from a file
  uint64_t input = 0;         // the index of the block's first input
  uint64_t input_bytes = 0;   // see InputBlock
  uint64_t last = 0;          // 1 for the last block of its unit
  uint64_t lines = 0;         // what read_block returned
  int64_t open_streams = 0;   // marks of streams that begin, less those of streams that end
  uint64_t bytes_per_id = 2;  // 2 or 4
  uint64_t documents = 0, tokens = 0, text_bytes = 0;
  uint64_t bad = 0;                                            // documents that could not be read
  uint64_t bad_input = 0, bad_line = 0, bad_reason_bytes = 0;  // of the first bad document
};

class PieceWriter {
 public:
  PieceInfo info;  // the caller sets `job` to `bytes_per_id`

  // Adds a document; the last of `ids` is the end-of-document token.
  void add(uint64_t input, std::string_view text, std::span<const uint32_t> ids);
  void add_bad(uint64_t input, int64_t line, const std::string& reason);
  // Writes the file under a temporary name and renames it, so that a file with the name `path` is complete.
  // It is not forced to the disk and may be incomplete after a crash of the machine. Throws SystemError if
  // the disk is full.
  void write(const std::filesystem::path& path);

 private:
  std::vector<PieceDocument> documents_;
  std::string ids_, reason_;
};

class Piece {
 public:
  // Nothing if there is no such file, or if it belongs to another job or is not complete. Reads only the
  // header.
  static std::optional<PieceInfo> find(const std::filesystem::path& path, uint64_t job);

  explicit Piece(const std::filesystem::path& path);  // of a piece that find() found
  const PieceInfo& info() const { return info_; }
  std::vector<PieceDocument> documents() const;
  std::string bad_reason() const;
  // Copies the ids [first, first + out.size()), which must exist.
  void read(uint64_t first, std::span<uint32_t> out) const;
  bool intact() const;  // whether the checksum is right; reads the whole file

 private:
  common::InputFile file_;
  PieceInfo info_;
};

}  // namespace sisa::data
