#include "data/prepare/byte_stream.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/error.h"

namespace sisa::data {
namespace {

class PlainStream : public ByteStream {
 public:
  PlainStream(std::FILE* file, std::string name) : ByteStream(std::move(name)), file_(file, std::fclose) {}
  size_t read(char* out, size_t size) override {
    const size_t count = std::fread(out, 1, size, file_.get());
    if (count < size && std::ferror(file_.get())) throw SystemError::with_errno("cannot read " + name());
    consumed_ += static_cast<int64_t>(count);
    return count;
  }
  int64_t consumed() const override { return consumed_; }

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  int64_t consumed_ = 0;
};

class GzipStream : public ByteStream {
 public:
  explicit GzipStream(const std::string& file_name)
      : ByteStream(file_name), file_(gzopen(file_name.c_str(), "rb"), gzclose) {
    if (!file_) throw Error("Cannot read {}: {}.", name(), std::strerror(errno));
    gzbuffer(file_.get(), 1 << 18);
  }
  size_t read(char* out, size_t size) override {
    const int count = gzread(file_.get(), out, static_cast<unsigned>(size));
    if (count > 0 && gzdirect(file_.get()))  // zlib passes on unchanged what is not gzip
      throw Error("{} is not compressed by gzip, as its name says. Rename it.", name());
    int code = Z_OK;
    const char* reason = gzerror(file_.get(), &code);
    if (count < 0 || (code != Z_OK && code != Z_STREAM_END))
      throw Error("{} cannot be decompressed as gzip: {}. The file may be cut off.", name(), reason);
    return static_cast<size_t>(count);
  }
  int64_t consumed() const override { return std::max<int64_t>(0, gzoffset(file_.get())); }

 private:
  std::unique_ptr<std::remove_pointer_t<gzFile>, int (*)(gzFile)> file_;
};

class ZstdStream : public ByteStream {
 public:
  ZstdStream(std::unique_ptr<ByteStream> packed, std::string name)
      : ByteStream(std::move(name)), packed_(std::move(packed)), context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {}
  size_t read(char* out, size_t size) override {
    ZSTD_outBuffer output{out, size, 0};
    while (true) {
      // Called without new input as well, since the decoder keeps output that did not fit last time.
      const size_t before = input_.pos;
      const size_t code = ZSTD_decompressStream(context_.get(), &output, &input_);
      if (ZSTD_isError(code))
        throw Error("{} cannot be decompressed as zstd: {}.", name(), ZSTD_getErrorName(code));
      if (output.pos > 0 || input_.pos > before) unfinished_ = code;
      if (output.pos > 0) return output.pos;
      if (input_.pos < input_.size) continue;
      input_ = {buffer_.data(), packed_->read(buffer_.data(), buffer_.size()), 0};
      if (input_.size > 0) continue;
      if (unfinished_ != 0) throw Error("{} cannot be decompressed as zstd: the file is cut off.", name());
      return 0;
    }
  }
  int64_t consumed() const override { return packed_->consumed(); }

 private:
  std::unique_ptr<ByteStream> packed_;
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context_;
  std::vector<char> buffer_ = std::vector<char>(ZSTD_DStreamInSize());
  ZSTD_inBuffer input_{nullptr, 0, 0};
  size_t unfinished_ = 0;  // 0 at the end of a frame
};

}  // namespace

std::unique_ptr<ByteStream> open_stream(const std::filesystem::path& path, int64_t offset) {
  const std::string name = stream_name(path);
  const bool standard_input = path == "-";
  std::error_code code;
  if (!standard_input && !std::filesystem::exists(path, code))
    throw Error("Cannot read {}: {}.", name, code ? code.message() : "no such file");
  if (!standard_input && std::filesystem::is_directory(path, code))
    throw Error("{} is a folder; name the texts in it, such as {}/*.txt.", name, name);
  if (path.extension() == ".gz") return std::make_unique<GzipStream>(name);
  std::FILE* file = standard_input ? fdopen(dup(STDIN_FILENO), "rb") : std::fopen(name.c_str(), "rb");
  if (!file) throw Error("Cannot read {}: {}.", name, std::strerror(errno));
  auto plain = std::make_unique<PlainStream>(file, name);
  if (offset > 0 && fseeko(file, offset, SEEK_SET) != 0) throw SystemError::with_errno("cannot read " + name);
  if (path.extension() == ".zst") return std::make_unique<ZstdStream>(std::move(plain), name);
  return plain;
}

bool is_packed(const std::filesystem::path& path) {
  return path.extension() == ".gz" || path.extension() == ".zst";
}

std::string stream_name(const std::filesystem::path& path) {
  return path == "-" ? "Standard input" : path.string();
}

}  // namespace sisa::data
