// The token ids of a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string_view>

#include "common/file.h"

namespace sisa::data {

enum class IdType { uint8, uint16, int16, uint32, int32, int64 };  // little-endian

int64_t id_size(IdType type);  // in bytes
std::string_view id_type_name(IdType type);

// The vocab_size for files whose vocabulary is not known: every id but a negative one is below it.
inline constexpr int64_t any_vocabulary = std::numeric_limits<int64_t>::max();

// The ids of one file of any format, from a byte offset on. The file is opened once. Members that read throw
// SystemError if the file was cut off since, or cannot be read. All const members may be called by several
// threads at once.
class TokenArray {
 public:
  // `file` is the content of `path`. `offset`, in bytes, is not behind its end and is a multiple of the
  // type's size. Throws Error if the bytes after it are not a whole number of ids.
  TokenArray(std::filesystem::path path, common::InputFile file, IdType type, int64_t offset);

  const std::filesystem::path& path() const { return path_; }
  IdType type() const { return type_; }
  int64_t size() const { return size_; }
  int64_t num_bytes() const { return size_ * id_size(type_); }  // of the ids
  // Copies the bytes of the ids [begin, begin + out.size()), which must exist.
  void read_bytes(int64_t begin, std::span<std::byte> out) const;
  uint64_t checksum() const;  // XXH3-64 of the bytes of all ids
  // Restricts the array to the ids [first, first + count), which must exist.
  void keep(int64_t first, int64_t count);

  // Copies the ids [first, first + out.size()), which must exist. Throws Error, with file and offset, on an
  // id that is not in [0, vocab_size).
  void read(int64_t first, std::span<int64_t> out, int64_t vocab_size) const;
  // The largest of the ids [first, first + count), which must exist, or -1 if count is 0. Throws Error like
  // read().
  int64_t largest(int64_t first, int64_t count, int64_t vocab_size) const;

  // The index of the first occurrence of an id from `first` on, or size() if there is none.
  int64_t find(int64_t id, int64_t first) const;
  int64_t count(int64_t id) const;  // how often an id occurs
  // Adds to counts[id] how often each id occurs. All ids must be below counts.size().
  void tally(std::span<int64_t> counts) const;

 private:
  template <typename Use>
  void for_each_part(int64_t first, int64_t count, const Use& use) const;
  [[noreturn]] void refuse_id(int64_t index, int64_t id, int64_t vocab_size) const;

  std::filesystem::path path_;
  common::InputFile file_;
  IdType type_;
  int64_t offset_, size_;  // in bytes; in ids
};

}  // namespace sisa::data
