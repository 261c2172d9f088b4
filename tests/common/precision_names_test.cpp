#include "common/precision_names.h"

#include <gtest/gtest.h>

namespace sisa::common {
namespace {

// Recipes and checkpoints hold these names.
TEST(PrecisionNamesTest, EachPrecisionHasItsName) {
  EXPECT_EQ(precision_name(Precision::bf16), "bf16");
  EXPECT_EQ(precision_name(Precision::bf16_pure), "bf16_pure");
  EXPECT_EQ(precision_name(Precision::fp32), "fp32");
  EXPECT_EQ(precision_name(Precision::fp64), "fp64");
  EXPECT_EQ(precision_names.size(), 4u);
}

}  // namespace
}  // namespace sisa::common
