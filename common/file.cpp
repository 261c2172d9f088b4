#include "common/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::common {
namespace fs = std::filesystem;
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const fs::path& path, int flags, mode_t mode = 0644)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {
    if (fd_ < 0) throw SystemError::with_errno(fmt::format("cannot open {}", path.string()));
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd_); }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Opens for reading; -1 with errno. A pipe that nobody writes to is opened at once (O_NONBLOCK), so that it can
// be refused.
int open_to_read(const fs::path& path) {
  const auto open = [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); };
  const int fd = open();
  rlimit limit{};
  // A dataset may have more files than a process may have open by default, but not more than it may ask for.
  if (fd >= 0 || errno != EMFILE || ::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fd;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) errno = EMFILE;
  return open();
}

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return S_ISREG(mode) ? "" : "a device";
}

// The size of an open file in bytes. Throws Error if it is no regular file.
int64_t size_of_regular(int fd, const fs::path& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw SystemError::with_errno(fmt::format("cannot stat {}", path.string()));
  if (const auto kind = kind_of(status.st_mode); !kind.empty())
    throw Error("{} is {}; a file was expected.", path.string(), kind);
  return status.st_size;
}

}  // namespace

size_t read_at(int descriptor, const std::string& path, int64_t offset, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        ::pread(descriptor, out.data() + done, out.size() - done, offset + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw SystemError::with_errno(
          fmt::format("cannot read byte {} of {}", offset + static_cast<int64_t>(done), path));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

std::string_view special_kind(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? kind_of(status.st_mode) : "";
}

std::string read_file(const fs::path& path, int64_t most_bytes) {
  const int fd = open_to_read(path);
  if (fd < 0 && errno == ENXIO)
    throw Error("{} is a socket or a device; a file was expected.", path.string());
  if (fd < 0)
    throw Error("Cannot read {}: {}.", path.string(),
                errno == ENOENT   ? "no such file"
                : errno == EACCES ? "no permission"
                                  : std::strerror(errno));
  const Descriptor file(fd);
  const int64_t size = size_of_regular(fd, path);
  std::string content;
  // The size may be wrong, as it is under /proc, or change meanwhile.
  for (size_t part = static_cast<size_t>(std::clamp<int64_t>(size, 1 << 12, most_bytes)) + 1;;) {
    const size_t before = content.size();
    content.resize(before + part);
    const auto room = std::as_writable_bytes(std::span(content).subspan(before));
    const size_t count = read_at(fd, path.string(), static_cast<int64_t>(before), room);
    content.resize(before + count);
    if (static_cast<int64_t>(content.size()) > most_bytes)
      throw Error("{} has more than {} bytes, too many for a file of its kind.", path.string(),
                  format_count(most_bytes));
    if (count < part) return content;
  }
}

void sync_file(const fs::path& path) {
  const Descriptor file(path, O_RDONLY);
  if (::fsync(file.get()) != 0) throw SystemError::with_errno(fmt::format("cannot sync {}", path.string()));
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  const fs::path temporary = path.string() + fmt::format(".tmp-{}", ::getpid());
  try {
    {
      const Descriptor file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
      for (size_t written = 0; written < content.size();) {
        const ssize_t n = ::write(file.get(), content.data() + written, content.size() - written);
        if (n < 0 && errno != EINTR)
          throw SystemError::with_errno(fmt::format("cannot write {}", temporary.string()));
        if (n > 0) written += static_cast<size_t>(n);
      }
      if (::fsync(file.get()) != 0)
        throw SystemError::with_errno(fmt::format("cannot sync {}", temporary.string()));
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0)
      throw SystemError::with_errno(fmt::format("cannot rename {} to {}", temporary.string(), path.string()));
  } catch (const SystemError&) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_file(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

void create_directories(const fs::path& path) {
  std::error_code code;
  fs::create_directories(path, code);
  if (code || !fs::is_directory(path))
    throw Error("Cannot create the folder {}: {}. Choose a folder that you may write to.", path.string(),
                code ? code.message() : "a file of that name is in the way");
}

InputFile::InputFile(const fs::path& path) : path_(path.string()), descriptor_(open_to_read(path)) {
  if (descriptor_ < 0) throw SystemError::with_errno(fmt::format("cannot open {}", path_));
  try {
    size_ = size_of_regular(descriptor_, path);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(std::exchange(other.size_, 0)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(int64_t offset, std::span<std::byte> out) const {
  const size_t count = read_at(descriptor_, path_, offset, out);
  if (count < out.size())
    throw SystemError(
        fmt::format("{} ends at byte {}, but had {} when it was opened: it was cut off meanwhile. Bring the "
                    "whole file back "
                    "and start again.",
                    path_, format_count(offset + static_cast<int64_t>(count)), format_count(size_)));
}

}  // namespace sisa::common
