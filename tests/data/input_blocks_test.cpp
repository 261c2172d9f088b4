#include "data/prepare/input_blocks.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/data/data_folder.h"
#include "tests/data/packing.h"

namespace sisa::data {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class InputBlocksTest : public DataFolder {
 protected:
  struct Found {
    size_t input;
    std::string text;
    bool operator==(const Found&) const = default;
  };
  using Place = std::pair<size_t, int64_t>;  // unit, block

  // The documents of every block that is assigned to `part`; each block must come once.
  void read(const std::vector<fs::path>& paths, int64_t block_bytes, int part, int parts,
            std::map<Place, std::vector<Found>>& blocks) const {
    const auto inputs = look_at(paths, block_bytes);
    const auto units = list_units(inputs, block_bytes);
    BlockSource source(inputs, units, block_bytes, part, parts, [](size_t) { return false; });
    for (InputBlock block; source.next(block);) {
      const auto [at, fresh] = blocks.try_emplace({block.unit, block.number});
      EXPECT_TRUE(fresh) << block.unit << " " << block.number;
      read_block(inputs, units[block.unit], block,
                 {.document =
                      [&](size_t input, std::string_view text) {
                        at->second.push_back({input, std::string(text)});
                      },
                  .bad = [](size_t, int64_t, const std::string&, std::string_view) { FAIL(); }});
    }
  }
  std::vector<Found> documents(const std::vector<fs::path>& paths, int64_t block_bytes, int parts) const {
    std::map<Place, std::vector<Found>> blocks;
    for (int part = 0; part < parts; ++part) read(paths, block_bytes, part, parts, blocks);
    std::vector<Found> all;
    for (const auto& [place, found] : blocks) all.insert(all.end(), found.begin(), found.end());
    return all;
  }
};

// Lines of many lengths, among them empty ones and ones that are longer than a block.
std::string lines(int count, const std::string& name) {
  std::string all;
  for (int i = 0; i < count; ++i)
    all += fmt::format("{}{{\"text\":\"{}{}{:x>{}}\"}}{}", i % 13 == 5 ? "\n" : "", name, i, "",
                       i % 29 == 11 ? 700 : i * 7 % 40, i % 3 ? "\n" : "\r\n");
  return all;
}

TEST_F(InputBlocksTest, AnyCutAndAnyNumberOfPartsGivesTheSameDocuments) {
  std::vector<fs::path> paths = {
      write("a.txt", "a text"), write("b.txt", "another"), write("c.jsonl", lines(100, "c")),
      write("d.jsonl.zst", zstd(lines(150, "d"))), write("e.jsonl", "{\"text\":\"e\"}")};
  for (int i = 0; i < 9; ++i)  // enough for several teams
    paths.push_back(write(fmt::format("s{}.jsonl.zst", i), zstd(lines(20 + 9 * i, "s"))));
  const auto whole = documents(paths, 1 << 20, 1);
  EXPECT_EQ(whole.size(), 2 + 100 + 150 + 1 + 9 * 20 + 9 * 36);
  EXPECT_EQ(whole[0], (Found{0, "a text"}));
  EXPECT_EQ(whole[2].input, 2u);
  for (const int64_t block_bytes : {1, 13, 64, 257, 1000, 4096})
    for (const int parts : {1, 2, 3, 7})
      EXPECT_EQ(documents(paths, block_bytes, parts), whole) << block_bytes;
}

TEST_F(InputBlocksTest, CutsAreWhereLinesBegin) {
  const std::string line = "{\"text\":\"1\"}\n";  // 13 bytes
  const fs::path path = write("a.jsonl", line + line + line);
  for (const auto& [block_bytes, sizes] : std::vector<std::pair<int64_t, std::vector<size_t>>>{
           {13, {1, 1, 1}}, {14, {2, 1, 0}}, {12, {1, 1, 1, 0}}, {26, {2, 1}}, {38, {3, 0}}}) {
    std::map<Place, std::vector<Found>> blocks;
    read({path}, block_bytes, 0, 1, blocks);
    std::vector<size_t> found;
    for (const auto& [place, documents] : blocks) found.push_back(documents.size());
    EXPECT_EQ(found, sizes) << block_bytes;
  }
}

TEST_F(InputBlocksTest, SmallFilesShareABlock) {
  std::vector<fs::path> paths;
  for (int i = 0; i < 100; ++i) paths.push_back(write(fmt::format("{}.txt", i), std::string(100, 'x')));
  const auto units = list_units(look_at(paths, 1000), 1000);
  ASSERT_EQ(units.size(), 10u);
  for (const Unit& unit : units) EXPECT_EQ(unit.last - unit.first, 10u);
}

// Sixteen streams of different sizes for four parts: each part has its own streams, of about the same total
// size.
TEST_F(InputBlocksTest, ManyStreamsAreDealtAndFewAreShared) {
  std::vector<Input> inputs;
  for (int i = 0; i < 16; ++i)
    inputs.push_back({.path = "a.jsonl.zst", .bytes = 1000 * (i + 1), .lines = true, .packed = true});
  const auto units = list_units(inputs, 10);
  std::map<size_t, int> readers;
  for (int part = 0; part < 4; ++part) {
    BlockSource source(inputs, units, 10, part, 4, [&](size_t unit) {
      ++readers[unit];
      return true;
    });
    InputBlock none;
    EXPECT_FALSE(source.next(none));
  }
  for (size_t unit = 0; unit < 16; ++unit) EXPECT_EQ(readers[unit], 1) << unit;
  readers.clear();
  for (int part = 0; part < 4; ++part)
    BlockSource(inputs, {units[0], units[1]}, 10, part, 4, [&](size_t unit) { return ++readers[unit] > 0; });
  EXPECT_THAT(readers, ElementsAre(std::pair{0u, 4}, std::pair{1u, 4}));
}

}  // namespace
}  // namespace sisa::data
