#include "data/tokens/token_array.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/hash.h"
#include "common/quantity.h"

namespace sisa::data {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are read as they lie in memory");

// Of one read: few enough bytes to be in the cache when they are looked at.
constexpr int64_t chunk_bytes = 256 << 10;

struct TypeInfo {
  int64_t size;  // in bytes
  std::string_view name;
};
constexpr std::array<TypeInfo, 6> types = {
    {{1, "uint8"}, {2, "uint16"}, {2, "int16"}, {4, "uint32"}, {4, "int32"}, {8, "int64"}}};

const TypeInfo& info(IdType type) {
  return types[static_cast<size_t>(type)];
}

// An id as an unsigned number; a negative id becomes larger than every vocabulary.
template <typename Id>
auto magnitude(Id id) {
  return static_cast<std::make_unsigned_t<Id>>(id);
}

// The smallest number above the magnitudes of all ids in the vocabulary.
template <typename Id>
uint64_t bound(int64_t vocab_size) {
  return std::min(static_cast<uint64_t>(vocab_size), uint64_t{std::numeric_limits<Id>::max()} + 1);
}

}  // namespace

int64_t id_size(IdType type) {
  return info(type).size;
}

std::string_view id_type_name(IdType type) {
  return info(type).name;
}

TokenArray::TokenArray(std::filesystem::path path, common::InputFile file, IdType type, int64_t offset)
    : path_(std::move(path)), file_(std::move(file)), type_(type), offset_(offset) {
  const int64_t bytes = file_.size();
  TORCH_INTERNAL_ASSERT(offset >= 0 && offset <= bytes && offset % id_size(type) == 0);
  size_ = (bytes - offset) / id_size(type);
  if (const int64_t rest = (bytes - offset) % id_size(type); rest != 0)
    throw Error(
        "{} has {} bytes, no whole number of {} ids: at offset {} only {} of {} bytes are left. The file was "
        "cut off or is of another kind.",
        path_.string(), common::format_count(bytes), id_type_name(type), bytes - rest, rest, id_size(type));
}

void TokenArray::read_bytes(int64_t begin, std::span<std::byte> out) const {
  TORCH_INTERNAL_ASSERT(begin >= 0 && static_cast<int64_t>(out.size()) <= num_bytes() - begin);
  file_.read(offset_ + begin, out);
}

uint64_t TokenArray::checksum() const {
  common::Hasher hasher;
  file_.for_each_part(offset_, num_bytes(), chunk_bytes,
                      [&](std::span<const std::byte> part) { hasher.update(part); });
  return hasher.digest();
}

void TokenArray::keep(int64_t first, int64_t count) {
  TORCH_INTERNAL_ASSERT(first >= 0 && count >= 0 && count <= size_ - first);
  offset_ += first * id_size(type_);
  size_ = count;
}

// Calls use(index of the first, ids) for consecutive parts of the ids [first, first + count), in their own type,
// until it returns false.
template <typename Use>
void TokenArray::for_each_part(int64_t first, int64_t count, const Use& use) const {
  TORCH_INTERNAL_ASSERT(first >= 0 && count >= 0 && count <= size_ - first);
  const auto as = [&]<typename Id>(Id) {
    constexpr auto size = static_cast<int64_t>(sizeof(Id));
    std::vector<Id> buffer(static_cast<size_t>(std::min(count, chunk_bytes / size)));
    for (const int64_t end = first + count; first < end;) {
      const auto ids = std::span(buffer).first(
          static_cast<size_t>(std::min(end - first, static_cast<int64_t>(buffer.size()))));
      file_.read(offset_ + first * size, std::as_writable_bytes(ids));
      if (!use(first, std::span<const Id>(ids))) return;
      first += static_cast<int64_t>(ids.size());
    }
  };
  switch (type_) {
    case IdType::uint8:
      return as(uint8_t{});
    case IdType::uint16:
      return as(uint16_t{});
    case IdType::int16:
      return as(int16_t{});
    case IdType::uint32:
      return as(uint32_t{});
    case IdType::int32:
      return as(int32_t{});
    case IdType::int64:
      return as(int64_t{});
  }
}

void TokenArray::refuse_id(int64_t index, int64_t id, int64_t vocab_size) const {
  throw Error(
      "{} holds the token {} at offset {}, outside {}. The file is damaged, of another kind, or made with "
      "another tokenizer.",
      path_.string(), id, offset_ + index * id_size(type_),
      vocab_size == any_vocabulary ? "every vocabulary" : fmt::format("the vocabulary of {}", vocab_size));
}

void TokenArray::read(int64_t first, std::span<int64_t> out, int64_t vocab_size) const {
  for_each_part(first, static_cast<int64_t>(out.size()),
                [&]<typename Id>(int64_t begin, std::span<const Id> ids) {
                  const uint64_t limit = bound<Id>(vocab_size);
                  for (size_t i = 0; i < ids.size(); ++i) {
                    if (magnitude(ids[i]) >= limit)
                      refuse_id(begin + static_cast<int64_t>(i), ids[i], vocab_size);
                    out[i] = ids[i];
                  }
                  out = out.subspan(ids.size());
                  return true;
                });
}

int64_t TokenArray::largest(int64_t first, int64_t count, int64_t vocab_size) const {
  int64_t result = -1;
  for_each_part(first, count, [&]<typename Id>(int64_t begin, std::span<const Id> ids) {
    const uint64_t limit = bound<Id>(vocab_size);
    auto most = magnitude(ids[0]);
    for (const auto id : ids) most = std::max(most, magnitude(id));
    if (most >= limit) {
      const auto wrong =
          std::find_if(ids.begin(), ids.end(), [&](auto id) { return magnitude(id) >= limit; });
      refuse_id(begin + (wrong - ids.begin()), *wrong, vocab_size);
    }
    result = std::max(result, static_cast<int64_t>(most));
    return true;
  });
  return result;
}

int64_t TokenArray::find(int64_t id, int64_t first) const {
  int64_t found = size_;
  for_each_part(first, size_ - first, [&](int64_t begin, auto ids) {
    const auto at = std::find(ids.begin(), ids.end(), id);
    if (at == ids.end()) return true;
    found = begin + (at - ids.begin());
    return false;
  });
  return found;
}

int64_t TokenArray::count(int64_t id) const {
  int64_t times = 0;
  for_each_part(0, size_, [&](int64_t, auto ids) {
    times += std::count(ids.begin(), ids.end(), id);
    return true;
  });
  return times;
}

void TokenArray::tally(std::span<int64_t> counts) const {
  for_each_part(0, size_, [&](int64_t, auto ids) {
    for (const auto id : ids) ++counts[magnitude(id)];
    return true;
  });
}

}  // namespace sisa::data
