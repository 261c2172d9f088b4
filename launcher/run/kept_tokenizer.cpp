#include "launcher/run/kept_tokenizer.h"

#include <filesystem>
#include <system_error>
#include <vector>

#include "common/error.h"
#include "common/file.h"
#include "data/tokenizer/make_tokenizer.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> copies(const Recipe& recipe, const RunFolder& folder) {
  std::vector<fs::path> paths = {folder.tokenizer()};
  std::error_code none;  // a run that prepared no text has no such folder
  for (const auto& prepared : fs::directory_iterator(folder.data(), none))
    paths.push_back(prepared.path() / "tokenizer.json");
  for (const Source& source : recipe.data.sources) paths.push_back(source.path / "tokenizer.json");
  return paths;
}

}  // namespace

std::string tokenizer_of(const Recipe& recipe, const RunFolder& folder) {
  const std::string& name = recipe.data.tokenizer;
  if (name.empty()) return name;
  try {
    data::tokenizer_file(name);
  } catch (const Error&) {
    std::error_code unreachable;
    for (const fs::path& copy : copies(recipe, folder))
      if (fs::exists(copy, unreachable)) return copy.string();
    throw;
  }
  return name;
}

void keep_tokenizer(const Recipe& recipe, const RunFolder& folder) {
  const std::string name = tokenizer_of(recipe, folder);
  const fs::path file = name.empty() ? fs::path() : data::tokenizer_file(name);
  if (file.empty() || file == folder.tokenizer()) return;
  const std::string content = common::read_file(file);
  if (!fs::exists(folder.tokenizer()) || common::read_file(folder.tokenizer()) != content)
    common::write_file_atomically(folder.tokenizer(), content);
}

}  // namespace sisa::launcher
