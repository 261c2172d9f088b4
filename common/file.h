// Reading and writing files, with errors that name the file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace sisa::common {

// More bytes than any file has that is read as a whole: recipes, descriptions in JSON, a prompt. A
// tokenizer.json of a vocabulary of 256,000 tokens has about 35 MB.
inline constexpr int64_t largest_text = int64_t{64} << 20;

// The content of a regular file of at most `most_bytes`. Throws Error if there is no such file, if it may not
// be read, if it is a folder, a pipe, a device or a socket, and if it is larger; SystemError if reading fails.
std::string read_file(const std::filesystem::path& path, int64_t most_bytes = largest_text);

// Replaces the content of `path` so that a reader sees either the old file or the new one and never a part:
// the content is written to a temporary file in the same folder, forced to the disk (fsync) and renamed, and
// the folder is forced to the disk as well. Throws SystemError; the old file is then still there.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

// Fills as much of `out` as there is in the file from byte `offset` on and returns how many bytes that are.
// Throws SystemError "cannot read byte … of `path`: …" if reading fails.
size_t read_at(int descriptor, const std::string& path, int64_t offset, std::span<std::byte> out);
// What a path names if it is no regular file: "a folder", "a pipe", "a device" or "a socket"; "" for a regular
// file and where that cannot be learnt.
std::string_view special_kind(const std::filesystem::path& path);

// Forces a file or folder to the disk (fsync). Throws SystemError.
void sync_file(const std::filesystem::path& path);
// Creates a folder and its parents where they do not exist. Throws Error.
void create_directories(const std::filesystem::path& path);

// A regular file that is open for reading. Movable, not copyable.
//
// It is read by system calls and not mapped into memory: where the file is cut off meanwhile, or a network file
// system fails, a call returns an error, while a mapping would end the process by a signal (SIGBUS).
class InputFile {
 public:
  InputFile() = default;
  // Throws Error if `path` is a folder, a pipe, a device or a socket, SystemError if it cannot be opened.
  explicit InputFile(const std::filesystem::path& path);
  InputFile(InputFile&&) noexcept;
  InputFile& operator=(InputFile&&) noexcept;
  ~InputFile();
  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }  // in bytes, when it was opened
  // Fills `out` with the bytes from `offset` on. Throws SystemError if reading fails, and if the file ends
  // earlier, which means that it was cut off since it was opened. May be called by several threads at once.
  void read(int64_t offset, std::span<std::byte> out) const;
  // The object that the bytes from `offset` on are.
  template <typename T>
  T at(int64_t offset) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T object;
    read(offset, std::as_writable_bytes(std::span(&object, 1)));
    return object;
  }
  // Calls use(part) for consecutive parts of at most `chunk` bytes of the bytes [offset, offset + size).
  template <typename Use>
  void for_each_part(int64_t offset, int64_t size, int64_t chunk, const Use& use) const {
    std::vector<std::byte> buffer(static_cast<size_t>(std::min(chunk, size)));
    for (const int64_t end = offset + size; offset < end;) {
      const auto part = std::span(buffer).first(static_cast<size_t>(std::min(chunk, end - offset)));
      read(offset, part);
      use(std::span<const std::byte>(part));
      offset += static_cast<int64_t>(part.size());
    }
  }

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

}  // namespace sisa::common
