#include "checkpoint/contents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "checkpoint/rank_file.h"
#include "common/error.h"
#include "tests/checkpoint/toy_model.h"

namespace sisa::tests {
namespace {

using checkpoint::rectangles;
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

}  // namespace
}  // namespace sisa::tests
