#include "data/prepare/byte_stream.h"

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::data {
namespace {

constexpr size_t head_size = 4096;  // bytes at the beginning that decide what a file is

constexpr std::string_view gzip_magic = "\x1F\x8B", zstd_magic = "\x28\xB5\x2F\xFD";

// A frame of zstd, or one that zstd skips: 0x184D2A50 to 0x184D2A5F, the first byte last.
bool begins_as_zstd(std::string_view head) {
  return head.starts_with(zstd_magic) ||
         (head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xF0) == 0x50 &&
          head.substr(1, 3) == "\x2A\x4D\x18");
}

class PlainStream : public ByteStream {
 public:
  PlainStream(std::FILE* file, std::string name) : ByteStream(std::move(name)), file_(file, std::fclose) {}
  // Up to `size` bytes from the beginning, which read() gives all the same. Called before it.
  std::string_view head(size_t size) {
    head_.resize(size);
    head_.resize(read_file(head_.data(), size));
    return head_;
  }
  size_t read(char* out, size_t size) override {
    if (head_.empty()) return read_file(out, size);
    const size_t count = head_.copy(out, size);
    head_.erase(0, count);
    return count;
  }
  int64_t consumed() const override { return consumed_; }

 private:
  size_t read_file(char* out, size_t size) {
    const size_t count = std::fread(out, 1, size, file_.get());
    if (count < size && std::ferror(file_.get())) throw SystemError::with_errno("cannot read " + name());
    consumed_ += static_cast<int64_t>(count);
    return count;
  }

  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::string head_;
  int64_t consumed_ = 0;
};

// A file of one or more compressed parts, which gzip calls members and zstd frames. What is not whole parts,
// each with the right checksum, is refused: a reader that passed over it would lose what follows.
class PackedStream : public ByteStream {
 public:
  explicit PackedStream(std::unique_ptr<ByteStream> packed)
      : ByteStream(packed->name()), packed_(std::move(packed)) {}
  int64_t consumed() const override { return packed_->consumed(); }
  bool packed() const override { return true; }

 protected:
  // Reads the next bytes of the file; an empty part at its end.
  std::string_view more() { return {buffer_.data(), packed_->read(buffer_.data(), buffer_.size())}; }
  // `left`: bytes of the last part that more() gave which were not used yet.
  [[noreturn]] void refuse(const char* program, std::string_view reason, size_t left) const {
    throw Error("{} cannot be decompressed as {}: {}, near byte {} of the file, in its compressed part {}.",
                name(), program, reason, common::format_count(consumed() - static_cast<int64_t>(left)),
                part_);
  }
  static constexpr const char* cut_off = "the file is cut off";

  int64_t part_ = 1;  // the number of the part that is being read

 private:
  std::unique_ptr<ByteStream> packed_;
  std::vector<char> buffer_ = std::vector<char>(size_t{1} << 17);
};

class GzipStream : public PackedStream {
 public:
  explicit GzipStream(std::unique_ptr<ByteStream> packed) : PackedStream(std::move(packed)) {
    constexpr int gzip_header = 16;
    if (inflateInit2(&stream_, MAX_WBITS + gzip_header) != Z_OK)
      throw SystemError("cannot decompress " + name() + ": zlib finds no memory");
  }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;
  ~GzipStream() override { inflateEnd(&stream_); }

  size_t read(char* out, size_t size) override {
    const auto room = static_cast<unsigned>(std::min<size_t>(size, 1U << 30));
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = room;
    while (stream_.avail_out == room) {
      if (!inside_ && !begin_member()) return 0;
      const unsigned before = stream_.avail_in;
      const int code = inflate(&stream_, Z_NO_FLUSH);
      if (code == Z_STREAM_END) {
        inside_ = false;
      } else if (code != Z_OK && code != Z_BUF_ERROR) {
        refuse("gzip", stream_.msg ? stream_.msg : "it is damaged", stream_.avail_in);
      } else if (stream_.avail_out == room && stream_.avail_in == before && !fill()) {
        refuse("gzip", cut_off, 0);
      }
    }
    return room - stream_.avail_out;
  }

 private:
  bool fill() {
    const std::string_view part = more();
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
    stream_.avail_in = static_cast<unsigned>(part.size());
    return !part.empty();
  }
  // Returns false at the end of the file. Zeros, with which tapes and blocks are filled up, may follow a
  // member.
  bool begin_member() {
    const auto next = [&] { return stream_.avail_in > 0 || fill(); };
    for (; next() && *stream_.next_in == 0; --stream_.avail_in) ++stream_.next_in;
    if (stream_.avail_in == 0) return false;
    if (begun_) ++part_, inflateReset(&stream_);
    if (*stream_.next_in != static_cast<unsigned char>(gzip_magic[0]))
      refuse("gzip", "something else than gzip stands there", stream_.avail_in);
    return begun_ = inside_ = true;
  }

  z_stream stream_{};
  bool begun_ = false, inside_ = false;  // a member
};

class ZstdStream : public PackedStream {
 public:
  explicit ZstdStream(std::unique_ptr<ByteStream> packed)
      : PackedStream(std::move(packed)), context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {
    // As long a window as there can be: 2 GiB on 64 bits, as `zstd --ultra --long=31` makes it.
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax,
                           ZSTD_dParam_getBounds(ZSTD_d_windowLogMax).upperBound);
  }
  size_t read(char* out, size_t size) override {
    ZSTD_outBuffer output{out, size, 0};
    while (true) {
      // Called without new input as well, since the decoder keeps output that did not fit last time.
      const size_t before = input_.pos;
      const size_t code = ZSTD_decompressStream(context_.get(), &output, &input_);
      if (ZSTD_isError(code)) refuse("zstd", ZSTD_getErrorName(code), input_.size - input_.pos);
      if (output.pos > 0 || input_.pos > before) {
        unfinished_ = code;
        if (code == 0) ++part_;
      }
      if (output.pos > 0) return output.pos;
      if (input_.pos < input_.size) continue;
      const std::string_view part = more();
      input_ = {part.data(), part.size(), 0};
      if (!part.empty()) continue;
      if (unfinished_ != 0) refuse("zstd", cut_off, 0);
      return 0;
    }
  }

 private:
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context_;
  ZSTD_inBuffer input_{nullptr, 0, 0};
  size_t unfinished_ = 0;  // 0 at the end of a frame
};

// What begins with `magic` at byte `at`, for messages, and what to do about it; {} stands for the file's
// name.
struct Foreign {
  size_t at;
  std::string_view magic, name, advice;
};
#define UNPACK(COMMAND) "Decompress it on the way: `" COMMAND " {} | sisa data prepare - …`."
constexpr std::string_view unpack_files = "Unpack it and name the texts that it holds.";
constexpr Foreign foreigners[] = {
    {0,
     {"\xFD"
      "7zXZ\0",
      6},
     "compressed by xz",
     UNPACK("xz -dc")},
    {0, {"\x5D\0\0", 3}, "compressed by lzma", UNPACK("xz -dc")},
    {4, "1AY&SY", "compressed by bzip2", UNPACK("bzip2 -dc")},
    {4, "\x17\x72\x45\x38\x50\x90", "compressed by bzip2", UNPACK("bzip2 -dc")},
    {0, "\x04\x22\x4D\x18", "compressed by lz4", UNPACK("lz4 -dc")},
    {0, "\x02\x21\x4C\x18", "compressed by lz4", UNPACK("lz4 -dc")},
    {0, "LZIP\x01", "compressed by lzip", UNPACK("lzip -dc")},
    {0, {"\x89LZO\0\r\n\x1A\n", 9}, "compressed by lzop", UNPACK("lzop -dc")},
    {0, {"\xFF\x06\0\0sNaPpY", 10}, "compressed by snappy", UNPACK("snzip -dc")},
    {0, "\x1F\x9D", "compressed by compress", UNPACK("gzip -dc")},
    {0, "x\x9C", "compressed by zlib", UNPACK("pigz -dc")},
    {0, "x\xDA", "compressed by zlib", UNPACK("pigz -dc")},
    {0, gzip_magic, "compressed by gzip twice", UNPACK("gzip -dc")},
    {0, zstd_magic, "compressed by zstd twice", UNPACK("zstd -dc --long=31")},
    {0, "PK\x03\x04", "a zip archive", UNPACK("unzip -p")},
    {0, "PK\x05\x06", "an empty zip archive", unpack_files},
    {0, "7z\xBC\xAF\x27\x1C", "a 7z archive", UNPACK("7z x -so")},
    {0, "Rar!\x1A\x07", "a rar archive", UNPACK("unrar p -inul")},
    {257, "ustar", "a tar archive", unpack_files},
    {0, "PAR1", "a parquet file",
     "Pipe its text in: `scripts/parquet_to_jsonl.py {} | sisa data prepare - …`."},
    {0, {"ARROW1\0\0", 8}, "an Arrow file", "Write its text as lines of JSON."},
    {0, "Obj\x01", "an Avro file", "Write its text as lines of JSON."},
    {0, "\x89HDF\r\n\x1A\n", "an HDF5 file", "Write its text as lines of JSON."},
    {0, {"SQLite format 3\0", 16}, "an SQLite database", "Write its text as lines of JSON."},
    {0, "%PDF-", "a PDF document", "Pipe its text in: `pdftotext {} - | sisa data prepare - …`."},
    {0, "{\\rtf", "an RTF document", "Pipe its text in: `unrtf --text {} | sisa data prepare - …`."},
    {0, "SISATOK\n", "a file of tokens and no text", "Train on it as it is."},
    {0, "\x1E", "a JSON text sequence (RFC 7464)",
     "Take out its separators: `tr -d '\\036' < {} | sisa data prepare - …`."},
};
#undef UNPACK

}  // namespace

std::unique_ptr<ByteStream> open_stream(const std::filesystem::path& path, int64_t offset) {
  const std::string name = stream_name(path);
  const bool standard_input = path == "-";
  std::error_code code;
  if (!standard_input && !std::filesystem::exists(path, code))
    throw Error("Cannot read {}: {}.", name, code ? code.message() : "no such file");
  if (!standard_input && std::filesystem::is_directory(path, code))
    throw Error("{} is a folder; name the texts in it, such as {}/*.txt.", name, name);
  std::FILE* file = standard_input ? fdopen(dup(STDIN_FILENO), "rb") : std::fopen(name.c_str(), "rb");
  if (!file) throw Error("Cannot read {}: {}.", name, std::strerror(errno));
  auto plain = std::make_unique<PlainStream>(file, name);
  if (offset > 0) {
    if (fseeko(file, offset, SEEK_SET) != 0) throw SystemError::with_errno("cannot read " + name);
    return plain;
  }
  const std::string_view head = plain->head(head_size);
  if (head.starts_with(gzip_magic)) return std::make_unique<GzipStream>(std::move(plain));
  if (begins_as_zstd(head)) return std::make_unique<ZstdStream>(std::move(plain));
  if (says_packed(path))
    throw Error(
        "{} {}, although its name ends in {}. Fetch it again if it should be compressed, or rename it.", name,
        head.empty() ? "is empty" : "is not compressed by gzip or zstd", path.extension().string());
  return plain;
}

void refuse_foreign(std::string_view head, const std::filesystem::path& path) {
  for (const Foreign& foreign : foreigners)
    if (head.size() > foreign.at && head.substr(foreign.at).starts_with(foreign.magic))
      throw Error("{} is {}. {}", stream_name(path), foreign.name,
                  fmt::format(fmt::runtime(foreign.advice), name_in_command(path)));
}

bool says_packed(const std::filesystem::path& path) {
  return path.extension() == ".gz" || path.extension() == ".zst";
}

std::string name_in_command(const std::filesystem::path& path) {
  return path == "-" ? "FILE" : path.string();
}

std::string stream_name(const std::filesystem::path& path) {
  return path == "-" ? "Standard input" : path.string();
}

}  // namespace sisa::data
