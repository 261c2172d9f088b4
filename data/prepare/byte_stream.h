// A stream of a file's bytes, decompressed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace sisa::data {

class ByteStream {
 public:
  explicit ByteStream(std::string name) : name_(std::move(name)) {}
  virtual ~ByteStream() = default;
  const std::string& name() const { return name_; }  // for messages
  // Writes at most `size` bytes to `out` and returns how many; 0 at the end. Throws Error if the file cannot
  // be read or decompressed.
  virtual size_t read(char* out, size_t size) = 0;
  // How many bytes of the file itself, in their compressed form, were read so far. For progress reports.
  virtual int64_t consumed() const = 0;
  virtual bool packed() const { return false; }  // whether the file is compressed

 private:
  std::string name_;
};

// Opens a file; "-" is standard input. What begins as gzip or zstd does is decompressed, whatever its name,
// and even if it consists of several compressed parts. `offset`, where the stream starts, must be 0 for
// compressed files. Throws Error if the file cannot be opened, and if its name ends in .gz or .zst but it is
// neither.
std::unique_ptr<ByteStream> open_stream(const std::filesystem::path& path, int64_t offset = 0);

// Throws Error, saying what to do, if a text begins as files of another kind do: archives, other compressed
// files, tables, documents. `head`: its first bytes, decompressed, 512 of them if there are so many.
void refuse_foreign(std::string_view head, const std::filesystem::path& path);

bool says_packed(const std::filesystem::path& path);             // whether its name ends in .gz or .zst
std::string stream_name(const std::filesystem::path& path);      // for messages
std::string name_in_command(const std::filesystem::path& path);  // for commands that messages advise

}  // namespace sisa::data
