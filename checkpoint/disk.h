// Reading and writing files, with errors that name the file, the place in it and the reason.
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

// The calls by which checkpoints are written to the disk and removed from it. Tests replace them by failing
// ones.
struct Disk {
  std::function<ssize_t(int, const void*, size_t, off_t)> write = ::pwrite;
  std::function<int(int)> sync = ::fsync;
  // How many bytes may still be written in a folder.
  std::function<uintmax_t(const std::filesystem::path&)> available = [](const std::filesystem::path& folder) {
    return std::filesystem::space(folder).available;
  };
  // Removes a folder with everything in it. Throws std::filesystem::filesystem_error.
  std::function<void(const std::filesystem::path&)> remove = [](const std::filesystem::path& folder) {
    std::filesystem::remove_all(folder);
  };
};

// An open file descriptor.
class File {
 public:
  // Throws SystemError, and Damage if a file to be read is missing or no regular file.
  File(const std::filesystem::path& path, int flags);
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();
  const std::string& path() const { return path_; }
  int64_t size() const;

  // Writes all of `bytes` at `offset`. Throws SystemError (full disk, input/output error …).
  void write(std::span<const std::byte> bytes, int64_t offset, const Disk& disk) const;
  // Sets the length of the file, forces it to the disk and closes it. Throws SystemError.
  void finish(int64_t length, const Disk& disk);
  // Reads all of `bytes` from `offset` on. Throws SystemError, and Damage if the file ends too early.
  void read(std::span<std::byte> bytes, int64_t offset) const;

 private:
  std::string path_;
  int descriptor_;
};

// Renames the folder `from` to `to` in one atomic step. If there is a folder `to` already, the two exchange
// their names. On file systems that cannot exchange names, the old folder is renamed first, which takes
// several steps.
void publish_folder(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace sisa::checkpoint
