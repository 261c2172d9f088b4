#include "launcher/run/skipped_steps.h"

#include <gmock/gmock.h>

namespace sisa::launcher {
namespace {

using testing::AllOf;
using testing::HasSubstr;

SkippedSteps after(const std::string& steps) {  // x: skipped
  SkippedSteps skipped;
  for (const char step : steps) skipped.count(step != 'x');
  return skipped;
}

TEST(SkippedSteps, AFewAreNoProblem) {
  EXPECT_EQ(SkippedSteps().problem(), "");
  EXPECT_EQ(after("..x..x.xx").problem(), "");
  EXPECT_EQ(after("..x..x.xx").skipped(), 4);
  EXPECT_FALSE(after("...........xxxxxxxxx").hopeless());  // nine
}

TEST(SkippedSteps, TenInARowAreHopeless) {
  EXPECT_TRUE(after(std::string(1000, '.') + "xxxxxxxxxx").hopeless());
  EXPECT_FALSE(after(std::string(1000, '.') + "xxxxxxxxxx.").hopeless());
  EXPECT_THAT(after(std::string(1000, '.') + "xxxxxxxxxx").problem(),
              AllOf(HasSubstr("The last 10 steps were all skipped"), HasSubstr("optimizer.learning_rate"),
                    HasSubstr("run.precision"), HasSubstr("--resume STEP")));
}

TEST(SkippedSteps, MostOfThemAreAProblem) {
  EXPECT_EQ(after("x.x.x.").problem(), "");
  EXPECT_THAT(after("x.x.xx.").problem(), HasSubstr("4 of the 7 steps were skipped"));
  EXPECT_THAT(after("x").problem(), HasSubstr("1 of the 1 steps"));
}

}  // namespace
}  // namespace sisa::launcher
