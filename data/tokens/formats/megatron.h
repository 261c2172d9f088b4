// The indexed datasets of Megatron-LM: PREFIX.bin contains only ids, and PREFIX.idx describes them.
// Little-endian, with S sequences and D - 1 documents:
//
//   offset  type      field of the .idx
//        0  char[9]   magic "MMIDIDX\0\0"
//        9  uint64    version, 1
//       17  uint8     type of the ids: 1 uint8, 3 int16, 4 int32, 5 int64, 8 uint16; others are refused
//       18  uint64    S
//       26  uint64    D
//       34  int32[S]  number of tokens of each sequence
//           int64[S]  byte of the .bin at which each sequence begins; must be where the one before it ends
//           int64[D]  sequence with which each document begins, ascending from 0; the last number is S
#pragma once

#include <cstdint>
#include <filesystem>

#include "common/file.h"
#include "data/tokens/token_array.h"

namespace sisa::data {

// An open .idx file.
class DocumentIndex {
 public:
  // Reads the whole index. Throws Error with file and offset unless it is as above and its sequences cover
  // the .bin, which has `bin_bytes` bytes, exactly.
  DocumentIndex(std::filesystem::path path, int64_t bin_bytes);

  IdType type() const { return type_; }
  int64_t documents() const { return num_documents_; }
  // The number of documents that begin before a token, which is also the index of the first document that
  // does not.
  int64_t documents_before(int64_t token) const;
  // The token with which a document begins, 0 <= document <= documents(). For documents() it is the number of
  // tokens.
  int64_t start(int64_t document) const;

 private:
  int64_t pointer_offset(int64_t sequence) const;
  int64_t document_offset(int64_t document) const;
  void read_header();
  void check_sequences() const;
  void check_documents() const;

  std::filesystem::path path_;
  common::InputFile file_;
  int64_t bin_bytes_;
  IdType type_ = IdType::uint16;
  int64_t num_sequences_ = 0, num_documents_ = 0;
};

struct MegatronFile {
  TokenArray ids;
  DocumentIndex index;
};

// `prefix` is the common name without .bin or .idx. Throws Error if one of the two files is missing, and like
// DocumentIndex.
MegatronFile open_megatron(const std::filesystem::path& prefix);

}  // namespace sisa::data
