// Token ids in a file, mapped into memory.
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

int64_t id_size(IdType type);  // bytes
std::string_view id_type_name(IdType type);

// A vocabulary that holds every id but negative ones: for files whose vocabulary is not known.
inline constexpr int64_t any_vocabulary = std::numeric_limits<int64_t>::max();

// The ids of one file, of any kind: all that follows `offset`. The file is opened once; reading touches
// memory only.
class TokenArray {
 public:
  // `file` is the content of `path`; `offset`, in bytes, lies inside of it and is a multiple of the type's
  // size. Throws Error if what follows is no whole number of ids.
  TokenArray(std::filesystem::path path, common::MappedFile file, IdType type, int64_t offset);

  const std::filesystem::path& path() const { return path_; }
  IdType type() const { return type_; }
  int64_t size() const { return size_; }
  std::span<const std::byte> bytes() const;  // of the ids
  // Leaves the ids [first, first + count) only, which must be there.
  void keep(int64_t first, int64_t count);

  // Both throw Error, with file and offset, on an id that is not in [0, vocab_size), and take ids that must
  // be there. Copies [first, first + out.size()).
  void read(int64_t first, std::span<int64_t> out, int64_t vocab_size) const;
  // The largest of the ids [first, first + count); -1 of none. Runs at the speed of memory.
  int64_t largest(int64_t first, int64_t count, int64_t vocab_size) const;

  // The first place, from `first` on, of an id; size() if there is none.
  int64_t find(int64_t id, int64_t first) const;
  int64_t count(int64_t id) const;
  // Adds to counts[id] how often each id occurs; all are below counts.size().
  void tally(std::span<int64_t> counts) const;

 private:
  template <typename Use>
  auto with_ids(const Use& use) const;
  [[noreturn]] void refuse_id(int64_t index, int64_t id, int64_t vocab_size) const;

  std::filesystem::path path_;
  common::MappedFile file_;
  IdType type_;
  int64_t offset_, size_;  // bytes; ids
};

}  // namespace sisa::data
