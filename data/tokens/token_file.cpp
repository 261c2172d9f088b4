#include "data/tokens/token_file.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::data {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are written as they lie in memory");

constexpr std::array<char, 8> magic = {'S', 'I', 'S', 'A', 'T', 'O', 'K', '\n'};
constexpr uint32_t version = 1;

struct Header {
  std::array<char, 8> magic;
  uint32_t version, bytes_per_token;
  uint64_t vocab_size, tokens, documents, text_bytes, checksum, own_checksum;
  uint64_t hash() const {
    return common::hash64(
        std::string_view(reinterpret_cast<const char*>(this), offsetof(Header, own_checksum)));
  }
};
static_assert(sizeof(Header) == 64);

}  // namespace

TokenFileWriter::TokenFileWriter(std::filesystem::path path, int64_t vocab_size)
    : path_(std::move(path)), temporary_(fmt::format("{}.tmp-{}", path_.string(), ::getpid())) {
  info_.vocab_size = vocab_size;
  file_.open(temporary_, std::ios::binary | std::ios::trunc);
  if (!file_)
    throw Error("Cannot write {}: {}. Choose an output folder that you may write to.", temporary_.string(),
                std::strerror(errno));
  file_.write(std::array<char, sizeof(Header)>{}.data(), sizeof(Header));
}

TokenFileWriter::~TokenFileWriter() {
  if (published_) return;
  file_.close();
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void TokenFileWriter::append(std::span<const uint32_t> ids) {
  const auto write = [&](std::string_view bytes) {
    hasher_.update(bytes);
    file_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  };
  for (const uint32_t id : ids) TORCH_INTERNAL_ASSERT(id < info_.vocab_size);
  info_.tokens += static_cast<int64_t>(ids.size());
  if (info_.bytes_per_token() == 4) {
    write({reinterpret_cast<const char*>(ids.data()), ids.size_bytes()});
  } else {
    std::array<uint16_t, 4096> narrow;
    while (!ids.empty()) {
      const auto part = ids.first(std::min(ids.size(), narrow.size()));
      std::copy(part.begin(), part.end(), narrow.begin());
      write({reinterpret_cast<const char*>(narrow.data()), part.size() * sizeof(uint16_t)});
      ids = ids.subspan(part.size());
    }
  }
  if (!file_) throw SystemError::with_errno("cannot write " + temporary_.string());
}

TokenFileInfo TokenFileWriter::finish() {
  info_.checksum = hasher_.digest();
  Header header{magic,
                version,
                static_cast<uint32_t>(info_.bytes_per_token()),
                static_cast<uint64_t>(info_.vocab_size),
                static_cast<uint64_t>(info_.tokens),
                static_cast<uint64_t>(info_.documents),
                static_cast<uint64_t>(info_.text_bytes),
                info_.checksum,
                0};
  header.own_checksum = header.hash();
  file_.seekp(0);
  file_.write(reinterpret_cast<const char*>(&header), sizeof header);
  file_.close();
  if (!file_) throw SystemError::with_errno("cannot write " + temporary_.string());
  common::sync_file(temporary_);
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0)
    throw SystemError::with_errno(fmt::format("cannot rename {} to {}", temporary_.string(), path_.string()));
  published_ = true;
  return info_;
}

namespace {

TokenFileInfo read_header(const std::filesystem::path& path, const common::InputFile& file) {
  const std::string name = path.string();
  if (file.size() < static_cast<int64_t>(sizeof(Header)))
    throw Error(
        "{} has {} bytes, fewer than the header of a token file ({}): it was cut off or is no token file.",
        name, file.size(), sizeof(Header));
  const auto header = file.at<Header>(0);
  if (header.magic != magic)
    throw Error(
        "{} is no token file: it does not start with 'SISATOK' (offset 0). Make one with `sisa data "
        "prepare`.",
        name);
  if (header.version != version)
    throw Error("{} has version {} (offset 8), but this program reads version {}. Prepare the data again.",
                name, header.version, version);
  if (header.own_checksum != header.hash())
    throw Error("The header of {} is damaged: its checksum (offset 56) is wrong. Prepare the data again.",
                name);
  const TokenFileInfo info = {static_cast<int64_t>(header.vocab_size), static_cast<int64_t>(header.tokens),
                              static_cast<int64_t>(header.documents), static_cast<int64_t>(header.text_bytes),
                              header.checksum};
  if (header.bytes_per_token != info.bytes_per_token())
    throw Error("{} has {} bytes a token (offset 12), but its vocabulary of {} takes {}.", name,
                header.bytes_per_token, info.vocab_size, info.bytes_per_token());
  const uint64_t payload = static_cast<uint64_t>(file.size()) - sizeof header;
  if (payload % header.bytes_per_token != 0 || payload / header.bytes_per_token != header.tokens)
    throw Error(
        "{} has {} bytes, but its header promises {} tokens (offset 24) of {} bytes, {} in all: it was cut "
        "off or added to. Prepare the data again.",
        name, common::format_count(file.size()), common::format_count(info.tokens), header.bytes_per_token,
        common::format_count(static_cast<int64_t>(sizeof header + header.tokens * header.bytes_per_token)));
  return info;
}

}  // namespace

TokenFile::TokenFile(const std::filesystem::path& path) : TokenFile(path, common::InputFile(path)) {}

TokenFile::TokenFile(const std::filesystem::path& path, common::InputFile file)
    : info_(read_header(path, file)),
      ids_(path, std::move(file), info_.bytes_per_token() == 2 ? IdType::uint16 : IdType::uint32,
           sizeof(Header)) {}

void verify(const TokenArray& ids, const TokenFileInfo& info) {
  ids.largest(0, ids.size(), info.vocab_size);
  if (ids.checksum() != info.checksum)
    throw Error("The tokens of {} are damaged: their checksum (offset 48) is wrong. Prepare the data again.",
                ids.path().string());
}

}  // namespace sisa::data
