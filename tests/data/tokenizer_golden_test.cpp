// Ids and cuts that the Python package `tokenizers` gave (tokenizer_families.py wrote the files).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/json.h"
#include "data/tokenizer/bpe/pre_tokenizer.h"
#include "data/tokenizer/make_tokenizer.h"
#include "tests/data/data_folder.h"

namespace sisa::data {
namespace {

using nlohmann::json;

class TokenizerGoldenTest : public DataFolder {
 protected:
  // The lines of a file of golden values, or of the one that an environment variable names.
  static std::vector<json> rows(const char* name, const char* variable) {
    const char* given = std::getenv(variable);
    const std::filesystem::path path =
        given ? std::filesystem::path(given) : std::filesystem::path(SISA_TEST_DATA) / name;
    std::ifstream file(path);
    std::vector<json> all;
    for (std::string line; std::getline(file, line);) all.push_back(json::parse(line));
    EXPECT_FALSE(all.empty()) << path;
    return all;
  }
};

TEST_F(TokenizerGoldenTest, IdsOfEveryFamily) {
  for (const json& row : rows("golden_tokenizers.jsonl", "SISA_GOLDEN_TOKENIZERS")) {
    SCOPED_TRACE(row["name"].get<std::string>());
    const auto tokenizer = make_tokenizer(write("tokenizer.json", row["file"].dump()).string());
    for (const json& item : row["cases"]) {
      std::vector<uint32_t> ids;
      tokenizer->encode(item[0].get<std::string>(), ids);
      EXPECT_EQ(ids, item[1].get<std::vector<uint32_t>>()) << item[0];
    }
  }
}

TEST_F(TokenizerGoldenTest, CutsOfEveryBehaviorAndManyPatterns) {
  size_t refused = 0, compared = 0;
  bpe::PreTokenizer::Memory memory;
  for (const json& row : rows("golden_splits.jsonl", "SISA_GOLDEN_SPLITS")) {
    bpe::PreTokenizer pre_tokenizer;
    try {
      pre_tokenizer = bpe::read_pre_tokenizer({row["pre_tokenizer"], ""});
    } catch (const common::JsonError& error) {
      EXPECT_FALSE(row.contains("name")) << error.what();  // a family's
      // What is refused must be so for one of these reasons; a test of the patterns themselves has each.
      EXPECT_THAT(
          error.what(),
          testing::AnyOf(testing::HasSubstr("may match nothing"), testing::HasSubstr("no fixed length"),
                         testing::HasSubstr("case"), testing::HasSubstr("ends with a class")));
      ++refused;
      continue;
    }
    ++compared;
    for (const json& item : row["cases"]) {
      const auto text = item[0].get<std::string>();
      std::vector<std::string> pieces;
      pre_tokenizer.pieces(text, true, memory, [&](std::string_view piece) { pieces.emplace_back(piece); });
      EXPECT_EQ(pieces, item[1].get<std::vector<std::string>>()) << row["pre_tokenizer"] << "\n" << item[0];
    }
  }
  EXPECT_GT(compared, 3 * refused);
}

}  // namespace
}  // namespace sisa::data
