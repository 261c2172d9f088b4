// Files with errors that name them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace sisa::common {

std::string read_file(const std::filesystem::path& path);

// Replaces `path` by `content` so that a reader sees the old or the new file and never a part: written beside
// it, fsynced, renamed; the folder is fsynced too.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

void sync_file(const std::filesystem::path& path);  // fsync of a file or folder
void create_directories(const std::filesystem::path& path);

// A file mapped read-only into memory; movable, not copyable.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Asks for the bytes [offset, offset + size) of the file, which will be read soon. Without it the kernel
  // takes a page fault for the beginning of a long sequence, and reads a hundred times as much.
  void will_need(size_t offset, size_t size) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace sisa::common
