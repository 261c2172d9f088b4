// The indexed datasets of Megatron-LM: PREFIX.bin holds ids and nothing else, PREFIX.idx says which. All
// little-endian, S sequences, D - 1 documents:
//
//   offset  type      field of the .idx
//        0  char[9]   magic "MMIDIDX\0\0"
//        9  uint64    version, 1
//       17  uint8     type of an id: 1 uint8, 3 int16, 4 int32, 5 int64, 8 uint16 (others hold no ids)
//       18  uint64    S
//       26  uint64    D
//       34  int32[S]  tokens of each sequence
//           int64[S]  byte in the .bin at which each begins; here: where the one before it ends
//           int64[D]  sequence with which each document begins, rising from 0; the last is S
#pragma once

#include <cstdint>
#include <filesystem>

#include "common/file.h"
#include "data/tokens/token_array.h"

namespace sisa::data {

// An opened .idx.
class DocumentIndex {
 public:
  // Reads the whole index. Throws Error with file and offset unless it is as above and its sequences make up
  // exactly the .bin, of `bin_bytes` bytes.
  DocumentIndex(std::filesystem::path path, int64_t bin_bytes);

  IdType type() const { return type_; }
  int64_t documents() const { return num_documents_; }
  // The number of documents that begin before a token; also the first document that does not.
  int64_t documents_before(int64_t token) const;
  // The token with which a document begins, 0 <= document <= documents(); of the last: all tokens.
  int64_t start(int64_t document) const;

 private:
  template <typename T>
  T field(int64_t offset) const;
  int64_t pointer_offset(int64_t sequence) const;
  int64_t document_offset(int64_t document) const;
  void read_header();
  void check_sequences() const;
  void check_documents() const;

  std::filesystem::path path_;
  common::MappedFile file_;
  int64_t bin_bytes_;
  IdType type_ = IdType::uint16;
  int64_t num_sequences_ = 0, num_documents_ = 0;
};

struct MegatronFile {
  TokenArray ids;
  DocumentIndex index;
};

// `prefix` names neither .bin nor .idx. Throws Error if one of the two is missing, and as DocumentIndex does.
MegatronFile open_megatron(const std::filesystem::path& prefix);

}  // namespace sisa::data
