// A text file that grows by whole lines, whatever becomes of the process or the disk.
#pragma once

#include <filesystem>
#include <string_view>

namespace sisa::common {

class LineFile {
 public:
  // Makes the file if there is none; throws SystemError. The file is looked at by the first append only.
  explicit LineFile(const std::filesystem::path& path);
  LineFile(LineFile&& other) noexcept;
  LineFile& operator=(LineFile&&) = delete;
  ~LineFile();

  // Appends `line` and a newline. Returns 0, or the errno for which it could not; the file is then as it was.
  // The first time it cuts off what a killed process left of a line.
  int append(std::string_view line);

 private:
  int cut_torn_line() const;
  int descriptor_;
  bool whole_ = false;  // the file ends with a newline, or is empty
};

}  // namespace sisa::common
