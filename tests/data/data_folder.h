// A folder for one test, with texts and datasets in it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "common/file.h"
#include "data/tokens/dataset.h"
#include "data/tokens/token_file.h"

namespace sisa::data {

class DataFolder : public testing::Test {
 protected:
  DataFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sisa-data-test-XXXXXX").string();
    folder = ::mkdtemp(pattern.data());
  }
  ~DataFolder() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }

  std::filesystem::path write(const std::string& name, std::string_view content) const {
    std::ofstream(folder / name, std::ios::binary) << content;
    return folder / name;
  }

  std::filesystem::path folder;
};

// The text of the Error that `action` throws, or "" if it throws none.
template <typename Action>
std::string refusal(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline TokenFileInfo write_token_file(const std::filesystem::path& path, int64_t vocab_size,
                                      const std::vector<uint32_t>& ids) {
  TokenFileWriter writer(path, vocab_size);
  writer.append(ids);
  writer.count(1, static_cast<int64_t>(ids.size()));
  return writer.finish();
}

// Writes a dataset of given ids, with one training file for each vector, and held-out files in the same way.
inline std::filesystem::path write_dataset(const std::filesystem::path& folder, int64_t vocab_size,
                                           const std::vector<std::vector<uint32_t>>& train,
                                           const std::vector<std::vector<uint32_t>>& validation = {}) {
  std::filesystem::create_directories(folder);
  Manifest manifest{.tokenizer = "test", .vocab_size = vocab_size, .end_of_document = 0};
  const auto add = [&](const auto& files, const std::string& name, std::vector<Manifest::Shard>& shards) {
    for (const auto& ids : files) {
      const std::string file = name + std::to_string(shards.size()) + ".bin";
      shards.push_back({file, write_token_file(folder / file, vocab_size, ids)});
    }
  };
  add(train, "train", manifest.train);
  add(validation, "validation", manifest.validation_shards);
  write_manifest(folder, manifest);
  return folder;
}

// The ids from `first` on.
inline std::vector<uint32_t> count_up(uint32_t first, uint32_t count) {
  std::vector<uint32_t> ids;
  for (uint32_t i = 0; i < count; ++i) ids.push_back(first + i);
  return ids;
}

}  // namespace sisa::data
