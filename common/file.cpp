#include "common/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "common/error.h"

namespace sisa::common {
namespace fs = std::filesystem;
namespace {

class Descriptor {
 public:
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

}  // namespace

std::string read_file(const fs::path& path) {
  std::error_code code;  // so that an inaccessible path does not throw a filesystem_error
  if (fs::is_directory(path, code)) throw Error("{} is a folder; a file was expected.", path.string());
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    const bool exists = fs::exists(path, code);
    throw Error("Cannot read {}: {}.", path.string(),
                code     ? code.message()
                : exists ? "no permission"
                         : "no such file");
  }
  std::string content;
  std::vector<char> part(1 << 16);
  while (in.read(part.data(), static_cast<std::streamsize>(part.size())), in.gcount() > 0)
    content.append(part.data(), static_cast<size_t>(in.gcount()));
  if (in.bad()) throw SystemError::with_errno(fmt::format("cannot read {}", path.string()));
  return content;
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

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor file(path, O_RDONLY);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0)
    throw SystemError::with_errno(fmt::format("cannot stat {}", path.string()));
  size_ = static_cast<size_t>(status.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) throw SystemError::with_errno(fmt::format("cannot map {}", path.string()));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::will_need(size_t offset, size_t size) const {
  static const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = offset / page * page;
  // Errors are ignored, since this is a hint: without it reading is merely slower.
  if (size > 0) ::madvise(const_cast<std::byte*>(data_) + begin, offset + size - begin, MADV_WILLNEED);
}

}  // namespace sisa::common
