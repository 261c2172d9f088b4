#include "checkpoint/contents.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <tuple>

#include "checkpoint/rank_file.h"
#include "common/error.h"
#include "common/json.h"
#include "tests/checkpoint/toy_model.h"

namespace sisa::tests {
namespace {

using checkpoint::rectangles;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Rectangles, CutAMatrixIntoPartialAndWholeRows) {
  const auto boxes = rectangles({10, 4}, 6, 31);
  ASSERT_EQ(boxes.size(), 3u);
  EXPECT_THAT(boxes[0].start, ElementsAre(1, 2));
  EXPECT_THAT(boxes[0].count, ElementsAre(1, 2));
  EXPECT_THAT(boxes[1].start, ElementsAre(2, 0));
  EXPECT_THAT(boxes[1].count, ElementsAre(5, 4));
  EXPECT_THAT(boxes[2].start, ElementsAre(7, 0));
  EXPECT_THAT(boxes[2].count, ElementsAre(1, 3));
  EXPECT_EQ(boxes[2].begin, 28);
}

// Marks the elements of the boxes of every interval, for shapes of 1 to 3 dimensions.
TEST(Rectangles, CoverEveryIntervalExactlyAndInOrder) {
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{7}, {1, 5}, {5, 1}, {4, 3}, {3, 2, 4}, {2, 1, 3}, {1, 1, 1}}) {
    int64_t size = 1;
    for (const int64_t n : shape) size *= n;
    for (int64_t begin = 0; begin < size; ++begin)
      for (int64_t end = begin + 1; end <= size; ++end) {
        const auto boxes = rectangles(shape, begin, end);
        EXPECT_LE(boxes.size(), 2 * shape.size() - 1);
        int64_t next = begin;
        for (const auto& box : boxes) {
          EXPECT_EQ(box.begin, next);
          // A box of whole rows is contiguous, so that its first element and its size describe it.
          int64_t flat = 0, stride = 1;
          bool partial = false;
          for (size_t d = shape.size(); d-- > 0;) {
            EXPECT_LE(box.start[d] + box.count[d], shape[d]);
            EXPECT_TRUE(!partial || box.count[d] == 1);
            partial = partial || box.count[d] != shape[d];
            flat += box.start[d] * stride;
            stride *= shape[d];
          }
          EXPECT_EQ(flat, box.begin);
          next += box.numel();
        }
        EXPECT_EQ(next, end);
      }
  }
}

TEST(Contents, SurvivesJson) {
  const checkpoint::StoredSlice source{.file = "rank-00001.h5",
                                       .array = parallel::StateArray::moment2,
                                       .name = "layers.0.\"x\"",
                                       .begin = 5,
                                       .end = int64_t{1} << 40,
                                       .type = c10::kBFloat16,
                                       .offset = int64_t{1} << 50,
                                       .checksum = 0xfedcba9876543210};
  const auto back = checkpoint::sources_from_json(checkpoint::to_json({source}));
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0].describe(), source.describe());
  EXPECT_EQ(back[0].file, source.file);
  EXPECT_EQ(back[0].type, source.type);
  EXPECT_EQ(back[0].offset, source.offset);
  EXPECT_EQ(back[0].checksum, source.checksum);
  EXPECT_EQ(source.dataset(), "/moment2/layers.0.\"x\"");
}

TEST(Contents, AnotherModelIsToldByNamesAndShapes) {
  ToyModel here({}, 0, 1), wider({.d_model = 12}, 0, 1), deeper({.extra_layers = 1}, 0, 1);
  const auto difference = [&](const ToyModel& stored, const ToyModel& space) -> std::string {
    checkpoint::Contents contents;
    contents.arrays = checkpoint::arrays_of(stored.space);
    contents.state.recipe = "run:\n  seed: 3\nmodel:\n  system: sisa\n  d_model: 12\ntrain:\n  warmup: 2\n";
    try {
      check_same_model(contents, space.space, "runs/a/checkpoints/step-5");
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), common::users_mistake);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(difference(here, ToyModel({.pad_to = 1}, 0, 1)), "");
  EXPECT_EQ(
      difference(wider, here),
      "The checkpoint runs/a/checkpoints/step-5 is of another model than this recipe's: embedding.weight is "
      "(37, 12) there and (37, 10) here; layers.0.W_Q.weight is (6, 12) there and (6, 10) here; "
      "layers.0.W_K.weight is (9, 12) there and (9, 10) here; and 2 more differences. It was trained with "
      "the "
      "model {system: sisa, d_model: 12}. Use the recipe that it was trained with, or start a new run in "
      "another output folder.");
  EXPECT_THAT(difference(here, deeper), HasSubstr("it lacks layers.1.norm.weight (10)."));
  EXPECT_THAT(difference(deeper, here), HasSubstr("layers.1.norm.weight (10) is there only."));
  ToyModel renamed({}, 0, 1);
  renamed.parameters.front().blocks.front().name = "embed.weight";
  EXPECT_THAT(
      difference(renamed, here),
      HasSubstr(
          "it lacks embedding.weight (37, 10), to which embed.weight comes nearest; embed.weight (37, 10) "
          "is there only."));
}

// A sound index of two arrays with moments, written by two ranks.
nlohmann::json sound_index() {
  nlohmann::json index = {{"arrays", {{{"name", "a"}, {"shape", {3, 4}}}, {{"name", "b"}, {"shape", {5}}}}},
                          {"sources", nlohmann::json::array()}};
  int64_t offset = 1000;
  for (const char* const array : {"parameters", "moment1", "moment2"})
    for (const auto& [name, begin, end, rank] :
         {std::tuple("a", 0, 7, 0), std::tuple("a", 7, 12, 1), std::tuple("b", 0, 5, 1)}) {
      index["sources"].push_back({{"file", checkpoint::rank_file_name(rank)},
                                  {"array", array},
                                  {"name", name},
                                  {"begin", begin},
                                  {"end", end},
                                  {"dtype", "float32"},
                                  {"offset", offset},
                                  {"checksum", "0123456789abcdef"}});
      offset += 4 * (end - begin);
    }
  return index;
}

void read_index(const std::string& text, int64_t world_size = 2) {
  checkpoint::Contents contents;
  contents.world_size = world_size;
  checkpoint::index_from_json(text, "M", contents);
}

TEST(Index, ASoundOneIsRead) {
  checkpoint::Contents contents;
  contents.world_size = 2;
  checkpoint::index_from_json(sound_index().dump(), "M", contents);
  ASSERT_EQ(contents.arrays.size(), 2u);
  EXPECT_THAT(contents.arrays[0].shape, ElementsAre(3, 4));
  ASSERT_EQ(contents.sources.size(), 9u);
  EXPECT_EQ(contents.sources[1].checksum, 0x0123456789abcdefu);
  EXPECT_TRUE(contents.has_moments());
  EXPECT_EQ(nlohmann::json::parse(checkpoint::index_to_json(contents)), sound_index());
}

// Each fault is one sentence that names the entry, and nothing is allocated for it.
TEST(Index, AWrongOneIsRefusedByItsEntry) {
  const auto refused = [](auto change, const std::string& what) {
    nlohmann::json index = sound_index();
    change(index);
    EXPECT_THAT([&] { read_index(index.dump()); },
                testing::ThrowsMessage<common::JsonError>(AllOf(testing::StartsWith("M"), HasSubstr(what))));
  };
  using json = nlohmann::json;
  const int64_t huge = std::numeric_limits<int64_t>::max();
  refused([](json& i) { i = nullptr; }, "M: is nothing, where an object is expected");
  refused([](json& i) { i = {1, 2}; }, "M: is [1,2], where an object is expected");
  refused([](json& i) { i.erase("arrays"); }, "M: arrays is nothing, where a list is expected");
  refused([](json& i) { i["sources"] = "none"; }, "M: sources is \"none\", where a list is expected");
  refused([](json& i) { i["arrays"] = json::array(); }, "arrays is empty");
  refused([](json& i) { i["arrays"][1] = 7; }, "arrays[1] is 7, where an object is expected");
  refused([](json& i) { i["arrays"][1]["name"] = 7; }, "arrays[1].name is 7");
  refused([](json& i) { i["arrays"][1]["name"] = ""; }, "arrays[1].name is empty");
  refused([](json& i) { i["arrays"][1]["name"] = "a"; }, "arrays has a twice");
  refused([](json& i) { i["arrays"][0]["shape"] = {-3, 4}; }, "arrays[0].shape[0] is -3");
  refused([](json& i) { i["arrays"][0]["shape"] = {3, 0}; }, "arrays[0].shape[1] is 0");
  refused([](json& i) { i["arrays"][0]["shape"] = {3, "4"}; }, "arrays[0].shape[1] is \"4\"");
  refused([](json& i) { i["arrays"][0]["shape"] = {3, {4}}; }, "arrays[0].shape[1] is [4]");
  refused([](json& i) { i["arrays"][0]["shape"] = json::array(); }, "arrays[0].shape has 0 dimensions");
  refused([](json& i) { i["arrays"][0]["shape"] = json(40, 1); }, "arrays[0].shape has 40 dimensions");
  refused(
      [&](json& i) {
        i["arrays"][0]["shape"] = {huge / 16, huge / 16};
      },
      "more elements than any array has");
  refused([&](json& i) { i["arrays"][0]["shape"] = {huge}; }, "arrays[0].shape[0] is 9223372036854775807");
  refused(
      [](json& i) {
        i["arrays"][0]["shape"] = {3, 5};
      },
      "sources has slices of parameters/a up to element 12, but its shape (3, 5) has 15");
  refused([](json& i) { i["sources"][2] = nullptr; }, "sources[2] is nothing, where an object is expected");
  for (const char* const key : {"file", "array", "name", "begin", "end", "dtype", "offset", "checksum"}) {
    refused([&](json& i) { i["sources"][2].erase(key); }, std::string("sources[2].") + key + " is nothing");
    refused([&](json& i) { i["sources"][2][key] = {{"a", 1}}; }, std::string("sources[2].") + key + " is {");
  }
  refused([](json& i) { i["sources"][0]["begin"] = -1; }, "sources[0].begin is -1");
  refused([](json& i) { i["sources"][0]["end"] = 0; }, "sources[0].end is 0");
  refused([](json& i) { i["sources"][0]["end"] = 8; },
          "sources has parameters/a, elements 7 to 12, where one from element 8 on is expected");
  refused([](json& i) { i["sources"][0]["end"] = 6; },
          "sources has parameters/a, elements 7 to 12, where one from element 6 on is expected");
  refused([](json& i) { i["sources"][1]["end"] = 13; }, "slices of parameters/a up to element 13");
  refused([](json& i) { i["sources"][1]["begin"] = 9, i["sources"][1]["end"] = 8; }, "sources[1].end is 8");
  refused([](json& i) { i["sources"][1]["dtype"] = "float64"; }, "in another type than the slices before it");
  refused([](json& i) { i["sources"][1]["dtype"] = "float8"; }, "sources[1].dtype is \"float8\"");
  refused([](json& i) { i["sources"][1]["array"] = "moment3"; }, "sources[1].array is \"moment3\"");
  refused([](json& i) { i["sources"].erase(4); }, "moment1/a up to element 7");
  refused([](json& i) { i["sources"].erase(8); }, "sources has no slice of moment2/b");
  refused([](json& i) { i["sources"].push_back(i["sources"][0]); },
          "where one from element 7 on is expected");
  refused([](json& i) { i["sources"][0]["name"] = "c"; },
          "parameters/a, elements 7 to 12, where one from element 0");
  refused(
      [](json& i) {
        for (json& source : i["sources"])
          if (source["name"] == "b") source["name"] = "c";
      },
      "sources has no slice of parameters/b");
  refused([](json& i) { i["arrays"].erase(1); },
          "sources has parameters/b, elements 0 to 5, which is none of its arrays");
  refused([](json& i) { i["sources"][3]["offset"] = i["sources"][0]["offset"]; },
          "in the same bytes of rank-00000.h5");
  refused([&](json& i) { i["sources"][0]["offset"] = huge; }, "sources[0].offset is 9223372036854775807");
  for (const char* const file :
       {"rank-00002.h5", "rank-0.h5", "../rank-00000.h5", "/etc/passwd", "", "rank-", "rank-00000.h5x"})
    refused([&](json& i) { i["sources"][0]["file"] = file; },
            fmt::format("has '{}' as the file of slice 0", file));
  for (const char* const checksum : {"", "no number", "0123", "-123456789abcdef"})
    refused([&](json& i) { i["sources"][0]["checksum"] = checksum; }, "sources[0].checksum is ");
  EXPECT_THAT([] { read_index("{"); }, testing::ThrowsMessage<common::JsonError>(HasSubstr("M is no JSON")));
  EXPECT_THAT([] { read_index(std::string(100'000, '[')); },
              testing::ThrowsMessage<common::JsonError>(HasSubstr("M is nested more than")));
}

}  // namespace
}  // namespace sisa::tests
