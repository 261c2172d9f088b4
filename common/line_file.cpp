#include "common/line_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "common/error.h"

namespace sisa::common {

LineFile::LineFile(const std::filesystem::path& path)
    : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) throw SystemError::with_errno("Cannot open " + path.string());
}

LineFile::LineFile(LineFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), whole_(other.whole_) {}

LineFile::~LineFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

int LineFile::append(std::string_view line) {
  if (!whole_)
    if (const int error = cut_torn_line()) return error;
  whole_ = true;
  const off_t before = ::lseek(descriptor_, 0, SEEK_END);
  const std::string text = std::string(line) + '\n';
  for (size_t written = 0; written < text.size();) {
    const ssize_t n = ::write(descriptor_, text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int error = n < 0 ? errno : EIO;
      whole_ = ::ftruncate(descriptor_, before) == 0;
      return error;
    }
    written += static_cast<size_t>(n);
  }
  return 0;
}

// Removes an incomplete last line. Returns 0 or an errno. A pipe or a device cannot be searched and counts as
// complete.
int LineFile::cut_torn_line() const {
  off_t end = ::lseek(descriptor_, 0, SEEK_END);
  std::array<char, 4096> chunk;
  const off_t size = end;
  while (end > 0) {
    const off_t begin = std::max<off_t>(0, end - static_cast<off_t>(chunk.size()));
    const ssize_t n = ::pread(descriptor_, chunk.data(), static_cast<size_t>(end - begin), begin);
    if (n != end - begin) return n < 0 ? errno : EIO;
    const size_t newline = std::string_view(chunk.data(), static_cast<size_t>(n)).rfind('\n');
    if (newline != std::string_view::npos) {
      end = begin + static_cast<off_t>(newline) + 1;
      break;
    }
    end = begin;
  }
  return end < size && ::ftruncate(descriptor_, end) != 0 ? errno : 0;
}

}  // namespace sisa::common
