#include "data/prepare/piece.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <system_error>
#include <type_traits>

#include "common/error.h"

namespace sisa::data {
namespace {

// The beginning of the file. The documents, the ids and the reason of the first bad document follow.
struct Header {
  PieceInfo info;
  uint64_t checksum;  // of everything after the header
  uint64_t own_checksum;

  uint64_t hash() const {
    return common::hash64(
        std::string_view(reinterpret_cast<const char*>(this), offsetof(Header, own_checksum)));
  }
  uint64_t documents_size() const { return info.documents * sizeof(PieceDocument); }
  uint64_t ids_size() const { return info.tokens * info.bytes_per_id; }
  uint64_t file_size() const {
    return sizeof(Header) + documents_size() + ids_size() + info.bad_reason_bytes;
  }
};
static_assert(std::has_unique_object_representations_v<Header> && std::is_trivially_copyable_v<Header>);

template <typename T>
std::string_view bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

}  // namespace

void PieceWriter::add(uint64_t input, std::string_view text, std::span<const uint32_t> ids) {
  documents_.push_back({common::hash128(text), input, ids.size(), text.size()});
  info.text_bytes += text.size();
  info.tokens += ids.size();
  if (info.bytes_per_id == 4) {
    ids_.append(bytes_of(ids));
    return;
  }
  const size_t before = ids_.size();
  ids_.resize(before + 2 * ids.size());
  char* out = ids_.data() + before;
  for (const uint32_t id : ids) {
    const auto narrow = static_cast<uint16_t>(id);
    std::memcpy(out, &narrow, 2);
    out += 2;
  }
}

void PieceWriter::add_bad(uint64_t input, int64_t line, const std::string& reason) {
  if (info.bad++ > 0) return;
  info.bad_input = input;
  info.bad_line = static_cast<uint64_t>(line);
  reason_ = reason;
}

void PieceWriter::write(const std::filesystem::path& path) {
  info.documents = documents_.size();
  info.bad_reason_bytes = reason_.size();
  const std::string_view parts[] = {bytes_of(std::span<const PieceDocument>(documents_)), ids_, reason_};
  common::Hasher hasher;
  for (const std::string_view part : parts) hasher.update(part);
  Header header{info, hasher.digest(), 0};
  header.own_checksum = header.hash();

  const std::string temporary = fmt::format("{}.tmp-{}", path.string(), ::getpid());
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(&header), sizeof header);
  for (const std::string_view part : parts)
    file.write(part.data(), static_cast<std::streamsize>(part.size()));
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) {
    const auto error = SystemError::with_errno("cannot write " + path.string());
    ::unlink(temporary.c_str());
    throw SystemError(fmt::format(
        "{}. Run the same command again once that is mended: it goes on where it stopped.", error.what()));
  }
}

std::optional<PieceInfo> Piece::find(const std::filesystem::path& path, uint64_t job) {
  std::ifstream file(path, std::ios::binary);
  Header header;
  std::error_code unreachable;
  if (!file.read(reinterpret_cast<char*>(&header), sizeof header) || header.own_checksum != header.hash() ||
      header.info.job != job || std::filesystem::file_size(path, unreachable) != header.file_size())
    return {};
  return header.info;
}

Piece::Piece(const std::filesystem::path& path) : file_(path), info_(file_.at<Header>(0).info) {}

std::vector<PieceDocument> Piece::documents() const {
  std::vector<PieceDocument> documents(info_.documents);
  file_.read(sizeof(Header), std::as_writable_bytes(std::span(documents)));
  return documents;
}

std::string Piece::bad_reason() const {
  std::string reason(info_.bad_reason_bytes, ' ');
  file_.read(file_.size() - static_cast<int64_t>(reason.size()), std::as_writable_bytes(std::span(reason)));
  return reason;
}

void Piece::read(uint64_t first, std::span<uint32_t> out) const {
  TORCH_INTERNAL_ASSERT(first + out.size() <= info_.tokens);
  const auto offset = static_cast<int64_t>(sizeof(Header) + info_.documents * sizeof(PieceDocument) +
                                           first * info_.bytes_per_id);
  if (info_.bytes_per_id == 4) return file_.read(offset, std::as_writable_bytes(out));
  std::vector<uint16_t> narrow(out.size());
  file_.read(offset, std::as_writable_bytes(std::span(narrow)));
  std::copy(narrow.begin(), narrow.end(), out.begin());
}

bool Piece::intact() const {
  common::Hasher hasher;
  file_.for_each_part(sizeof(Header), file_.size() - static_cast<int64_t>(sizeof(Header)), 1 << 20,
                      [&](std::span<const std::byte> part) { hasher.update(part); });
  return file_.at<Header>(0).checksum == hasher.digest();
}

}  // namespace sisa::data
