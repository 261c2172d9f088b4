#include "data/document_reader.h"

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/error.h"
#include "data/utf8.h"

namespace sisa::data {
namespace {

constexpr std::string_view white_space = " \t\r\n";

// Bytes, whatever they are packed in.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  virtual size_t read(char* out, size_t size) = 0;  // 0: the end
};

class PlainStream : public ByteStream {
 public:
  PlainStream(std::FILE* file, std::string name) : file_(file, std::fclose), name_(std::move(name)) {}
  size_t read(char* out, size_t size) override {
    const size_t count = std::fread(out, 1, size, file_.get());
    if (count < size && std::ferror(file_.get())) throw SystemError::with_errno("cannot read " + name_);
    return count;
  }

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::string name_;
};

class GzipStream : public ByteStream {
 public:
  explicit GzipStream(const std::string& name) : file_(gzopen(name.c_str(), "rb"), gzclose), name_(name) {
    if (!file_) throw Error("Cannot read {}: {}.", name, std::strerror(errno));
  }
  size_t read(char* out, size_t size) override {
    const int count = gzread(file_.get(), out, static_cast<unsigned>(size));
    if (count > 0 && gzdirect(file_.get()))  // zlib hands on unchanged what is not gzip
      throw Error("{} is not compressed by gzip, as its name says. Rename it.", name_);
    int code = Z_OK;
    const char* reason = gzerror(file_.get(), &code);
    if (count < 0 || (code != Z_OK && code != Z_STREAM_END))
      throw Error("{} cannot be decompressed as gzip: {}. The file may be cut off.", name_, reason);
    return static_cast<size_t>(count);
  }

 private:
  std::unique_ptr<std::remove_pointer_t<gzFile>, int (*)(gzFile)> file_;
  std::string name_;
};

class ZstdStream : public ByteStream {
 public:
  ZstdStream(std::unique_ptr<ByteStream> packed, std::string name)
      : packed_(std::move(packed)), context_(ZSTD_createDCtx(), ZSTD_freeDCtx), name_(std::move(name)) {}
  size_t read(char* out, size_t size) override {
    ZSTD_outBuffer output{out, size, 0};
    while (true) {
      // Also without input: the decoder holds back what did not fit last time.
      const size_t before = input_.pos;
      const size_t code = ZSTD_decompressStream(context_.get(), &output, &input_);
      if (ZSTD_isError(code))
        throw Error("{} cannot be decompressed as zstd: {}.", name_, ZSTD_getErrorName(code));
      if (output.pos > 0 || input_.pos > before) unfinished_ = code;
      if (output.pos > 0) return output.pos;
      if (input_.pos < input_.size) continue;
      input_ = {buffer_.data(), packed_->read(buffer_.data(), buffer_.size()), 0};
      if (input_.size > 0) continue;
      if (unfinished_ != 0) throw Error("{} cannot be decompressed as zstd: the file is cut off.", name_);
      return 0;
    }
  }

 private:
  std::unique_ptr<ByteStream> packed_;
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context_;
  std::string name_;
  std::vector<char> buffer_ = std::vector<char>(ZSTD_DStreamInSize());
  ZSTD_inBuffer input_{nullptr, 0, 0};
  size_t unfinished_ = 0;  // 0 at the end of a frame
};

std::unique_ptr<ByteStream> open_stream(const std::filesystem::path& path, const std::string& name) {
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
  if (path.extension() == ".zst") return std::make_unique<ZstdStream>(std::move(plain), name);
  return plain;
}

// A stream read in blocks, with lines cut out of it.
class LineReader {
 public:
  explicit LineReader(std::unique_ptr<ByteStream> stream) : stream_(std::move(stream)) {}
  // Without white space; 0 if there is nothing else. Reads ahead.
  char first_character() {
    size_t at = 0;
    while ((at = buffer_.find_first_not_of(white_space, at)) == std::string::npos) {
      at = buffer_.size();
      if (!fill()) return 0;
    }
    return buffer_[at];
  }
  // The next line without its end; false at the end. The view holds until the next call.
  bool next(std::string_view& line) {
    while (true) {
      const size_t end = buffer_.find('\n', searched_);
      if (end != std::string::npos) {
        line = std::string_view(buffer_).substr(begin_, end - begin_);
        begin_ = searched_ = end + 1;
        return true;
      }
      searched_ = buffer_.size();
      if (fill()) continue;
      line = std::string_view(buffer_).substr(begin_);
      begin_ = buffer_.size();
      return !line.empty();
    }
  }
  // All that is left.
  std::string_view rest() {
    while (fill()) {
    }
    return std::string_view(buffer_).substr(begin_);
  }

 private:
  bool fill() {
    constexpr size_t block = size_t{1} << 20;
    buffer_.erase(0, begin_);
    searched_ -= begin_;
    begin_ = 0;
    const size_t size = buffer_.size();
    buffer_.resize(size + block);
    const size_t count = stream_->read(buffer_.data() + size, block);
    buffer_.resize(size + count);
    return count > 0;
  }
  std::unique_ptr<ByteStream> stream_;
  std::string buffer_;
  size_t begin_ = 0, searched_ = 0;  // of the next line; up to where it holds no line end
};

// "" and the text, or what is wrong with the line.
std::string parse_line(std::string_view line, std::string& text) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return "is no valid JSON in UTF-8";
  if (!json.is_object()) return "is no JSON object";
  const auto field = json.find("text");
  if (field == json.end()) return "has no field 'text'";
  if (!field->is_string()) return "has a field 'text' that is no string";
  text = field->get<std::string>();
  return "";
}

}  // namespace

void read_documents(const std::filesystem::path& path, OnError on_error, Skipped& skipped,
                    const std::function<void(std::string_view)>& each) {
  const std::string name = path == "-" ? "Standard input" : path.string();
  LineReader reader(open_stream(path, name));
  const auto pass_over = [&](const std::string& what, std::string_view advice) {
    if (on_error == OnError::stop) throw Error("{}. {}", what, advice);
    if (skipped.documents++ == 0) skipped.first = what;
  };
  const bool packed = path.extension() == ".gz" || path.extension() == ".zst";
  const bool lines =
      path == "-" ? reader.first_character() == '{' : (packed ? path.stem() : path).extension() == ".jsonl";
  if (!lines) {
    const std::string_view text = reader.rest();
    if (const size_t wrong = find_invalid_utf8(text); wrong != std::string_view::npos)
      pass_over(fmt::format("{}, line {} is no UTF-8: the byte 0x{:02x} at offset {}", name,
                            1 + std::count(text.begin(), text.begin() + static_cast<int64_t>(wrong), '\n'),
                            static_cast<unsigned char>(text[wrong]), wrong),
                "Convert it, for example with iconv; --on-error skip passes over such a file.");
    else if (!text.empty())
      each(text);
    return;
  }
  std::string text;
  int64_t number = 0;
  for (std::string_view line; reader.next(line);) {
    ++number;
    if (line.find_first_not_of(white_space) == std::string_view::npos) continue;
    if (const std::string wrong = parse_line(line, text); !wrong.empty())
      pass_over(
          fmt::format("{}, line {} {}", name, number, wrong),
          R"(Each line must be an object such as {"text": "..."}; --on-error skip passes over bad lines.)");
    else if (!text.empty())
      each(text);
  }
}

}  // namespace sisa::data
