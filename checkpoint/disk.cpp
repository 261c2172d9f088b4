#include "checkpoint/disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "checkpoint/damage.h"
#include "common/error.h"
#include "common/file.h"

namespace sisa::checkpoint {
namespace fs = std::filesystem;

File::File(const fs::path& path, int flags)
    // A pipe that nobody writes to is opened at once (O_NONBLOCK), so that it can be refused.
    : path_(path.string()), descriptor_(::open(path_.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644)) {
  const bool reads = !(flags & O_CREAT);
  if (descriptor_ < 0 && reads && errno == ENOENT) throw Damage(path_ + " is missing");
  if (descriptor_ < 0)
    throw SystemError::with_errno(fmt::format("Cannot {} {}", reads ? "open" : "create", path_));
  if (const auto kind = reads ? common::special_kind(path) : std::string_view(); !kind.empty()) {
    ::close(descriptor_);
    throw Damage(fmt::format("{} is {}; a file was written", path_, kind));
  }
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

int64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) throw SystemError::with_errno("Cannot read the size of " + path_);
  return status.st_size;
}

void File::write(std::span<const std::byte> bytes, int64_t offset, const Disk& disk) const {
  const size_t total = bytes.size();
  while (!bytes.empty()) {
    const ssize_t n = disk.write(descriptor_, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    const std::string what = fmt::format("Cannot write {} bytes at byte {} of {} ({} of the {} were written)",
                                         bytes.size(), offset, path_, total - bytes.size(), total);
    if (n < 0) throw SystemError::with_errno(what);
    if (n == 0) throw SystemError(what + ": the file system takes no more and gives no reason");
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += n;
  }
}

void File::finish(int64_t length, const Disk& disk) {
  if (::ftruncate(descriptor_, length) != 0)
    throw SystemError::with_errno(fmt::format("Cannot set the length of {} to {} bytes", path_, length));
  if (disk.sync(descriptor_) != 0) throw SystemError::with_errno("Cannot force to the disk: " + path_);
  if (::close(std::exchange(descriptor_, -1)) != 0) throw SystemError::with_errno("Cannot close " + path_);
}

void File::read(std::span<std::byte> bytes, int64_t offset) const {
  const size_t count = common::read_at(descriptor_, path_, offset, bytes);
  if (count < bytes.size())
    throw Damage(fmt::format("{} ends at byte {}, {} bytes too early", path_,
                             offset + static_cast<int64_t>(count), bytes.size() - count));
}

void publish_folder(const fs::path& from, const fs::path& to) {
  const auto rename_or_throw = [](const fs::path& a, const fs::path& b) {
    if (::rename(a.c_str(), b.c_str()) != 0)
      throw SystemError::with_errno(fmt::format("Cannot rename {} to {}", a.string(), b.string()));
  };
  if (!fs::exists(fs::symlink_status(to))) {  // a link is replaced, wherever it leads
    rename_or_throw(from, to);
  } else if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
    const fs::path aside = from.string() + "-replaced";
    rename_or_throw(to, aside);
    rename_or_throw(from, to);
    rename_or_throw(aside, from);
  }
  common::sync_file(to.parent_path());
}

}  // namespace sisa::checkpoint
