#include "common/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>
#include <utility>

#include "common/error.h"
#include "common/file.h"

namespace sisa::common {

std::optional<FileLock> FileLock::acquire(const std::filesystem::path& path,
                                          std::chrono::milliseconds patience, Content content) {
  // O_CLOEXEC: a program started by this process would otherwise go on holding the lock.
  FileLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (lock.descriptor_ < 0) throw SystemError::with_errno("Cannot open " + path.string());
  const auto end = std::chrono::steady_clock::now() + patience;
  while (::flock(lock.descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) throw SystemError::with_errno("Cannot lock " + path.string());
    if (std::chrono::steady_clock::now() >= end) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (content == Content::left_alone) return lock;
  // Only people read this, so it does no harm if the disk is too full for it.
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string text = fmt::format("process {} on {}\n", ::getpid(), host.data());
  if (::ftruncate(lock.descriptor_, 0) == 0) [[maybe_unused]]
    const auto n = ::pwrite(lock.descriptor_, text.data(), text.size(), 0);
  return lock;
}

bool FileLock::is_held(const std::filesystem::path& path) {
  const FileLock lock(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (lock.descriptor_ < 0) {
    if (errno == ENOENT) return false;
    throw SystemError::with_errno("Cannot open " + path.string());
  }
  // A shared lock is refused as long as another process has the exclusive one, and needs no right to write.
  while (::flock(lock.descriptor_, LOCK_SH | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return true;
    if (errno != EINTR) throw SystemError::with_errno("Cannot lock " + path.string());
  }
  return false;
}

std::string FileLock::holder(const std::filesystem::path& path) {
  std::string text = read_file(path);
  if (text.ends_with('\n')) text.pop_back();
  return text.empty() ? "a process that left no name" : text;
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace sisa::common
