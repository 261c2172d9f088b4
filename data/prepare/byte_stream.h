// A stream of a file's bytes, decompressed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
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

 private:
  std::string name_;
};

// Opens a file; "-" is standard input. Files whose names end in .gz or .zst are decompressed, even if they
// consist of several compressed parts. `offset`, where the stream starts, must be 0 for compressed files.
// Throws Error if the file cannot be opened.
std::unique_ptr<ByteStream> open_stream(const std::filesystem::path& path, int64_t offset = 0);

bool is_packed(const std::filesystem::path& path);           // compressed: .gz or .zst
std::string stream_name(const std::filesystem::path& path);  // for messages

}  // namespace sisa::data
