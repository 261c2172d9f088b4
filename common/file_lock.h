// Keeps two processes from working in one folder.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

namespace sisa::common {

// An exclusive lock on a file (flock). The kernel releases it when the process that holds it ends, however it
// ends, so no stale lock is ever left to clear. The file itself stays. Movable, not copyable.
class FileLock {
 public:
  // What becomes of the file's content once the lock is held.
  enum class Content {
    names_holder,  // replaced by a line that holder() reads
    left_alone     // for a file that is more than a lock
  };

  // Creates the file if there is none. If another process holds the lock, waits up to `patience` for it,
  // since a process that was killed may take a moment to end; returns nothing if the lock is still held then.
  // Throws SystemError if the file cannot be opened or created, or if its file system does not support locks.
  static std::optional<FileLock> acquire(const std::filesystem::path& path,
                                         std::chrono::milliseconds patience,
                                         Content content = Content::names_holder);
  // Whether another process holds the lock on this file. Creates nothing and changes nothing; false if there
  // is no such file. Throws SystemError if the file cannot be opened or locked.
  static bool is_held(const std::filesystem::path& path);
  // "process 1234 on HOST": the process that holds the lock, or held it last (Content::names_holder).
  static std::string holder(const std::filesystem::path& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) noexcept;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace sisa::common
