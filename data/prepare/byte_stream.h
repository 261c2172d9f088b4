// Bytes of a file, unpacked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace sisa::data {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // At most `size` bytes, to `out`; 0: the end. Throws Error if the file cannot be read or unpacked.
  virtual size_t read(char* out, size_t size) = 0;
  // Bytes of the file itself, packed as they are, that were read so far; for progress.
  virtual int64_t consumed() const = 0;
};

// "-" is standard input; what ends in .gz or .zst is unpacked, any number of parts after one another. Starts
// at the byte `offset` of a file that is not packed. Throws Error if it cannot be opened.
std::unique_ptr<ByteStream> open_stream(const std::filesystem::path& path, int64_t offset = 0);

bool is_packed(const std::filesystem::path& path);           // .gz or .zst
std::string stream_name(const std::filesystem::path& path);  // for messages

}  // namespace sisa::data
