#include "checkpoint/folders.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <system_error>

namespace sisa::checkpoint {
namespace fs = std::filesystem;
namespace {

// Part of every temporary name, including those of common::write_file_atomically.
constexpr std::string_view temporary_mark = ".tmp-";

}  // namespace

std::string folder_name(int64_t step) {
  return fmt::format("step-{}", step);
}

std::optional<int64_t> step_of(const std::string& name) {
  int64_t step = 0;
  const char* const begin = name.data() + std::min<size_t>(5, name.size());
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size() || name != folder_name(step)) return {};
  return step;
}

std::string temporary_name(const std::string& folder_name) {
  return fmt::format("{}{}{}", folder_name, temporary_mark, ::getpid());
}

int64_t folder_bytes(const fs::path& path) {
  if (!fs::is_directory(path)) return static_cast<int64_t>(fs::file_size(path));
  int64_t bytes = 0;
  for (const auto& file : fs::directory_iterator(path))
    if (file.is_regular_file()) bytes += static_cast<int64_t>(file.file_size());
  return bytes;
}

void delete_folder(const fs::path& path, const Disk& disk, std::vector<std::string>& remarks) {
  try {
    fs::path doomed = path;
    if (step_of(path.filename().string())) {
      doomed = path.parent_path() / (temporary_name(path.filename().string()) + "-deleted");
      fs::rename(path, doomed);
    }
    disk.remove(doomed);
  } catch (const fs::filesystem_error& error) {
    remarks.push_back(fmt::format("Could not delete {}: {}", path.string(), error.code().message()));
  }
}

std::vector<fs::path> leftovers(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& item : fs::directory_iterator(folder)) {
    const std::string name = item.path().filename().string();
    if ((name.starts_with("step-") || name.starts_with("latest")) &&
        name.find(temporary_mark) != std::string::npos)
      found.push_back(item.path());
  }
  return found;
}

void delete_leftovers(const fs::path& folder, const Disk& disk, std::vector<std::string>& remarks) {
  for (const fs::path& path : leftovers(folder)) delete_folder(path, disk, remarks);
}

}  // namespace sisa::checkpoint
