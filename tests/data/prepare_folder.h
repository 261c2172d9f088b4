// A folder for one test that prepares text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/prepare/prepare.h"
#include "data/tokenizer/make_tokenizer.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokens/dataset.h"
#include "tests/data/data_folder.h"

namespace sisa::data {

class PrepareTest : public DataFolder {
 protected:
  PrepareOptions options(const std::vector<std::filesystem::path>& inputs, double validation = 0.1,
                         const std::string& output = "data") const {
    return {.inputs = inputs, .output = folder / output, .validation = validation};
  }
  Manifest prepare(const PrepareOptions& o) const { return data::prepare(o, *tokenizer); }
  std::string refuses(const PrepareOptions& o) const {
    return refusal([&] { prepare(o); });
  }

  static std::string line(const std::string& text) { return "{\"text\": \"" + text + "\"}\n"; }
  // `count` different documents of 100 to 199 bytes, as one line of JSON each.
  static std::string documents(int count, int first = 0) {
    std::string lines;
    for (int i = first; i < first + count; ++i) {
      std::string text = "document " + std::to_string(i) + " ";
      text.resize(100 + static_cast<size_t>(i) * 37 % 100, static_cast<char>('a' + i % 26));
      lines += line(text);
    }
    return lines;
  }
  std::vector<int64_t> ids(Split split, const std::string& output = "data") const {
    const auto dataset = TokenDataset::open(folder / output, split);
    std::vector<int64_t> result(static_cast<size_t>(dataset.tokens()));
    dataset.read(0, result);
    return result;
  }
  // The documents of a split, each of which must end with the end-of-document token.
  std::vector<std::string> texts(Split split, const std::string& output = "data") const {
    std::vector<std::string> result;
    std::string text;
    for (const int64_t id : ids(split, output)) {
      if (id != 256) {
        text += static_cast<char>(id);
      } else {
        result.push_back(text);
        text.clear();
      }
    }
    EXPECT_EQ(text, "");
    return result;
  }
  // Name -> content of every file of a folder.
  std::map<std::string, std::string> files(const std::string& output) const {
    std::map<std::string, std::string> result;
    for (const auto& entry : std::filesystem::directory_iterator(folder / output))
      result[entry.path().filename().string()] = common::read_file(entry.path());
    return result;
  }

  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer("bytes");
};

}  // namespace sisa::data
