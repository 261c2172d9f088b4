// A text file that grows by whole lines, even if a process is killed or the disk is full.
#pragma once

#include <filesystem>
#include <string_view>

namespace sisa::common {

class LineFile {
 public:
  // Creates the file if there is none. Throws SystemError. The content is not read before the first append.
  explicit LineFile(const std::filesystem::path& path);
  LineFile(LineFile&& other) noexcept;
  LineFile& operator=(LineFile&&) = delete;
  ~LineFile();

  // Appends `line` and a newline. Returns 0, or the errno of what failed; the file is then unchanged. The
  // first call removes the incomplete last line that a killed process may have left.
  int append(std::string_view line);

 private:
  int cut_torn_line() const;
  int descriptor_;
  bool whole_ = false;  // the file is known to be empty or to end with a newline
};

}  // namespace sisa::common
