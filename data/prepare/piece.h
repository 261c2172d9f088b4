// The tokens of one block, between tokenising and joining. Files of this program for itself: what they hold
// is as it lies in memory, and no other version reads them.
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
  uint64_t input = 0;
  uint64_t tokens = 0;  // the end-of-document token included
  uint64_t text_bytes = 0;
};

struct PieceInfo {
  uint64_t job = 0;           // of which preparation
  uint64_t content_hash = 0;  // of the block's text; 0 if that comes from a file that can be read again
  uint64_t input = 0;         // the first
  uint64_t input_bytes = 0;   // as of Block
  uint64_t last = 0;          // 1: the last block of its unit
  uint64_t lines = 0;         // as read_block returns them
  uint64_t bytes_per_id = 2;  // 2 or 4
  uint64_t documents = 0, tokens = 0, text_bytes = 0;
  uint64_t bad = 0;                                            // documents that could not be read
  uint64_t bad_input = 0, bad_line = 0, bad_reason_bytes = 0;  // of the first
};

class PieceWriter {
 public:
  PieceInfo info;  // the caller's: job to bytes_per_id

  // `ids` end with the end-of-document token.
  void add(uint64_t input, std::string_view text, std::span<const uint32_t> ids);
  void add_bad(uint64_t input, int64_t line, const std::string& reason);
  // Under another name first, so that a file under `path` is whole, unless the machine itself stopped: it is
  // not synced. Throws SystemError if the disk is full.
  void write(const std::filesystem::path& path);

 private:
  std::vector<PieceDocument> documents_;
  std::string ids_, reason_;
};

class Piece {
 public:
  // Absent if there is no such file, or if it is of another job or not whole. Reads the header only.
  static std::optional<PieceInfo> find(const std::filesystem::path& path, uint64_t job);

  explicit Piece(const std::filesystem::path& path);  // one that was found
  const PieceInfo& info() const { return info_; }
  std::span<const PieceDocument> documents() const;
  std::string_view bad_reason() const;
  // Copies the ids [first, first + out.size()), which there must be.
  void read(uint64_t first, std::span<uint32_t> out) const;
  bool intact() const;  // reads everything

 private:
  common::MappedFile file_;
  PieceInfo info_;
};

}  // namespace sisa::data
