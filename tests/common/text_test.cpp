#include "common/text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sisa::common {
namespace {

using Strings = std::vector<std::string>;

TEST(TextTest, FindsTheNearestWord) {
  const Strings keys = {"d_model", "num_layers", "num_heads", "d_ff", "vocab_size"};
  EXPECT_EQ(nearest("d_modle", keys), "d_model");
  EXPECT_EQ(nearest("num_head", keys), "num_heads");
  EXPECT_EQ(nearest("layers", keys), "");  // four letters away from num_layers, more than half of it
  EXPECT_EQ(nearest("vocabulary_size", keys), "vocab_size");
  EXPECT_EQ(nearest("dff", keys), "d_ff");
  EXPECT_EQ(nearest("d_model", keys), "d_model");
}

TEST(TextTest, GivesNothingWhereNothingIsNear) {
  EXPECT_EQ(nearest("temperature", Strings{"d_model", "d_ff"}), "");
  EXPECT_EQ(nearest("xy", Strings{"ab", "cd"}), "");  // no letter in common
  EXPECT_EQ(nearest("", Strings{"a", "ab"}), "");
  EXPECT_EQ(nearest("word", Strings{}), "");
}

TEST(TextTest, TheFirstOfEquallyNearWins) {
  EXPECT_EQ(nearest("cat", Strings{"car", "cap"}), "car");
}

TEST(TextTest, JoinsChoices) {
  EXPECT_EQ(join_choices(Strings{}), "");
  EXPECT_EQ(join_choices(Strings{"a"}), "a");
  EXPECT_EQ(join_choices(Strings{"a", "b"}), "a or b");
  EXPECT_EQ(join_choices(Strings{"a", "b", "c"}), "a, b or c");
}

TEST(TextTest, Splits) {
  EXPECT_EQ(split("a.b.c", '.'), (Strings{"a", "b", "c"}));
  EXPECT_EQ(split("a", '.'), (Strings{"a"}));
  EXPECT_EQ(split("", '.'), (Strings{""}));
  EXPECT_EQ(split(".a..", '.'), (Strings{"", "a", "", ""}));
}

}  // namespace
}  // namespace sisa::common
