// Reading and writing files with errors that name the file, the place and the reason.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

namespace sisa::checkpoint {

// The calls through which checkpoints reach the disk and leave it. Tests put failing ones in their place.
struct Disk {
  std::function<ssize_t(int, const void*, size_t, off_t)> write = ::pwrite;
  std::function<int(int)> sync = ::fsync;
  // Bytes that may still be written below a folder.
  std::function<uintmax_t(const std::filesystem::path&)> available = [](const std::filesystem::path& folder) {
    return std::filesystem::space(folder).available;
  };
  // Removes a folder with all that it holds; throws std::filesystem::filesystem_error.
  std::function<void(const std::filesystem::path&)> remove = [](const std::filesystem::path& folder) {
    std::filesystem::remove_all(folder);
  };
};

// An open file descriptor.
class File {
 public:
  File(const std::filesystem::path& path, int flags);  // throws SystemError
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();
  const std::string& path() const { return path_; }
  int64_t size() const;

  // All of `bytes` at `offset`, or SystemError: full disk, input/output error …
  void write(std::span<const std::byte> bytes, int64_t offset, const Disk& disk) const;
  // Sets the length, forces all to the disk and closes.
  void finish(int64_t length, const Disk& disk);
  // All of `bytes` from `offset`, or SystemError, also where the file ends too early.
  void read(std::span<std::byte> bytes, int64_t offset) const;

 private:
  std::string path_;
  int descriptor_;
};

// Puts the folder `from` in the place of the folder `to`, in one step; the folder that was there before, if
// any, is then called `from`. Where the file system cannot exchange folders the old one first steps aside.
void publish_folder(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace sisa::checkpoint
