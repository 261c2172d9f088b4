#include "data/tokens/token_array.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::data {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are read as they lie in memory");

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

TokenArray::TokenArray(std::filesystem::path path, common::MappedFile file, IdType type, int64_t offset)
    : path_(std::move(path)), file_(std::move(file)), type_(type), offset_(offset) {
  const auto bytes = static_cast<int64_t>(file_.bytes().size());
  TORCH_INTERNAL_ASSERT(offset >= 0 && offset <= bytes && offset % id_size(type) == 0);
  size_ = (bytes - offset) / id_size(type);
  if (const int64_t rest = (bytes - offset) % id_size(type); rest != 0)
    throw Error(
        "{} has {} bytes, no whole number of {} ids: at offset {} only {} of {} bytes are left. The file was "
        "cut off or is of another kind.",
        path_.string(), common::format_count(bytes), id_type_name(type), bytes - rest, rest, id_size(type));
}

std::span<const std::byte> TokenArray::bytes() const {
  return file_.bytes().subspan(static_cast<size_t>(offset_), static_cast<size_t>(size_ * id_size(type_)));
}

void TokenArray::keep(int64_t first, int64_t count) {
  TORCH_INTERNAL_ASSERT(first >= 0 && count >= 0 && count <= size_ - first);
  offset_ += first * id_size(type_);
  size_ = count;
}

// Calls `use` with a span of all ids in their own type.
template <typename Use>
auto TokenArray::with_ids(const Use& use) const {
  const auto as = [&]<typename Id>(Id) {
    return use(
        std::span(reinterpret_cast<const Id*>(file_.bytes().data() + offset_), static_cast<size_t>(size_)));
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
      break;
  }
  return as(int64_t{});
}

void TokenArray::refuse_id(int64_t index, int64_t id, int64_t vocab_size) const {
  throw Error(
      "{} holds the token {} at offset {}, outside {}. The file is damaged, of another kind, or made with "
      "another tokenizer.",
      path_.string(), id, offset_ + index * id_size(type_),
      vocab_size == any_vocabulary ? "every vocabulary" : fmt::format("the vocabulary of {}", vocab_size));
}

void TokenArray::read(int64_t first, std::span<int64_t> out, int64_t vocab_size) const {
  TORCH_INTERNAL_ASSERT(first >= 0 && static_cast<int64_t>(out.size()) <= size_ - first);
  file_.will_need(static_cast<size_t>(offset_ + first * id_size(type_)),
                  out.size() * static_cast<size_t>(id_size(type_)));
  with_ids([&]<typename Id>(std::span<const Id> ids) {
    const uint64_t limit = bound<Id>(vocab_size);
    for (size_t i = 0; i < out.size(); ++i) {
      const auto id = ids[static_cast<size_t>(first) + i];
      if (magnitude(id) >= limit) refuse_id(first + static_cast<int64_t>(i), id, vocab_size);
      out[i] = id;
    }
  });
}

int64_t TokenArray::largest(int64_t first, int64_t count, int64_t vocab_size) const {
  TORCH_INTERNAL_ASSERT(first >= 0 && count >= 0 && count <= size_ - first);
  return with_ids([&]<typename Id>(std::span<const Id> all) {
    const uint64_t limit = bound<Id>(vocab_size);
    constexpr size_t block = 1 << 15;  // ids; few enough to be in the cache when a wrong one is searched for
    int64_t result = -1;
    for (auto rest = all.subspan(static_cast<size_t>(first), static_cast<size_t>(count)); !rest.empty();) {
      const auto ids = rest.first(std::min(block, rest.size()));
      auto most = magnitude(ids[0]);
      for (const auto id : ids) most = std::max(most, magnitude(id));
      if (most >= limit) {
        const auto wrong =
            std::find_if(ids.begin(), ids.end(), [&](auto id) { return magnitude(id) >= limit; });
        refuse_id(&*wrong - all.data(), *wrong, vocab_size);
      }
      result = std::max(result, static_cast<int64_t>(most));
      rest = rest.subspan(ids.size());
    }
    return result;
  });
}

int64_t TokenArray::find(int64_t id, int64_t first) const {
  TORCH_INTERNAL_ASSERT(first >= 0 && first <= size_);
  return with_ids(
      [&](auto ids) -> int64_t { return std::find(ids.begin() + first, ids.end(), id) - ids.begin(); });
}

int64_t TokenArray::count(int64_t id) const {
  return with_ids([&](auto ids) -> int64_t { return std::count(ids.begin(), ids.end(), id); });
}

void TokenArray::tally(std::span<int64_t> counts) const {
  with_ids([&](auto ids) {
    for (const auto id : ids) ++counts[magnitude(id)];
  });
}

}  // namespace sisa::data
