// Keeps two processes from working in one folder.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

namespace sisa::common {

// A file that at most one process holds (flock). The kernel lets go of it when that process ends, however it
// ends, so nothing stale is left to clear; the file itself stays. Movable, not copyable.
class FileLock {
 public:
  // Makes the file if there is none, and waits up to `patience` for whoever holds it: a process that was
  // killed may take a moment to be gone. Nothing: it is held still. Throws SystemError where the file cannot
  // be made, or where its file system knows no locks.
  static std::optional<FileLock> acquire(const std::filesystem::path& path,
                                         std::chrono::milliseconds patience);
  // "process 1234 on HOST", as whoever holds the lock, or held it last, wrote it there.
  static std::string holder(const std::filesystem::path& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) noexcept;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace sisa::common
