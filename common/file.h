// Reading and writing files, with errors that name the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace sisa::common {

// The content of a file. Throws Error if there is no such file or it may not be read, SystemError if reading
// fails.
std::string read_file(const std::filesystem::path& path);

// Replaces the content of `path` so that a reader sees either the old file or the new one and never a part:
// the content is written to a temporary file in the same folder, forced to the disk (fsync) and renamed, and
// the folder is forced to the disk as well. Throws SystemError; the old file is then still there.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

// Forces a file or folder to the disk (fsync). Throws SystemError.
void sync_file(const std::filesystem::path& path);
// Creates a folder and its parents where they do not exist. Throws Error.
void create_directories(const std::filesystem::path& path);

// A file mapped read-only into memory. Movable, not copyable. Throws SystemError if it cannot be mapped.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Tells the kernel that the bytes [offset, offset + size) will be read soon. Without this hint the kernel
  // takes a page fault for the start of a long sequential read, and reads a hundred times as much.
  void will_need(size_t offset, size_t size) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace sisa::common
