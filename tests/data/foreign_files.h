// Writes token files of other programs, byte by byte as their formats are defined.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace sisa::data {

// Appends the bytes of a value as they are in memory.
template <typename T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename Id>
std::string raw_ids(const std::vector<uint32_t>& ids) {
  std::string bytes;
  for (const uint32_t id : ids) put(bytes, static_cast<Id>(id));
  return bytes;
}

template <typename Id = uint16_t>
std::string llmc_file(const std::vector<uint32_t>& ids) {
  std::string bytes;
  put<int32_t>(bytes, sizeof(Id) == 2 ? 20240520 : 20240801);
  put<int32_t>(bytes, sizeof(Id) == 2 ? 1 : 7);
  put<int32_t>(bytes, static_cast<int32_t>(ids.size()));
  bytes.resize(1024);
  return bytes + raw_ids<Id>(ids);
}

inline std::string meta_txt(int64_t tokens, int64_t shards) {
  return "total_tokens=" + std::to_string(tokens) + "\nnum_shards=" + std::to_string(shards) +
         "\nvocab_size=50254\neos_id=0\ndtype=uint16\ndataset=some/text\ntokenizer=some/neox\n";
}

// The content of an .idx file. Each document is given by the numbers of tokens of its sequences. The .bin
// file contains only the ids.
inline std::string megatron_idx(const std::vector<std::vector<int32_t>>& documents, uint8_t type_code = 8) {
  static const std::map<int, int64_t> sizes = {{1, 1}, {3, 2}, {4, 4}, {5, 8}, {8, 2}};
  std::string lengths, pointers, marks;
  uint64_t sequences = 0;
  int64_t pointer = 0;
  put<int64_t>(marks, 0);
  for (const auto& document : documents) {
    for (const int32_t length : document) {
      put(lengths, length);
      put(pointers, pointer);
      pointer += length * sizes.at(type_code);
      ++sequences;
    }
    put(marks, static_cast<int64_t>(sequences));
  }
  std::string bytes("MMIDIDX\0\0", 9);
  put<uint64_t>(bytes, 1);
  put(bytes, type_code);
  put(bytes, sequences);
  put<uint64_t>(bytes, documents.size() + 1);
  return bytes + lengths + pointers + marks;
}

}  // namespace sisa::data
