#include "launcher/run/progress.h"

#include <gtest/gtest.h>

namespace sisa::launcher {
namespace {

using common::Unit;

// Where a run stands after so many steps of 100 tokens.
Progress after(int64_t step) {
  return {.step = step, .samples = 10 * step, .tokens = 100 * step};
}

TEST(Passed, AtEveryMultipleOfStepsOrTokens) {
  EXPECT_FALSE(passed({5, Unit::steps}, after(3), after(4)));
  EXPECT_TRUE(passed({5, Unit::steps}, after(4), after(5)));
  EXPECT_FALSE(passed({5, Unit::steps}, after(5), after(6)));
  EXPECT_FALSE(passed({250, Unit::tokens}, after(1), after(2)));
  EXPECT_TRUE(passed({250, Unit::tokens}, after(2), after(3)));  // from 200 to 300
  EXPECT_TRUE(passed({100, Unit::tokens}, after(2), after(3)));
  EXPECT_FALSE(passed({0, Unit::steps}, after(4), after(5)));  // 0 is never
  EXPECT_FALSE(passed(common::Quantity{}, after(0), after(1)));
}

TEST(Passed, ChosenStepsAndNumbersOfTokens) {
  const SavePoints points{.at = {{3, Unit::steps}, {450, Unit::tokens}, {600, Unit::tokens}}};
  for (int64_t step = 1; step <= 8; ++step)
    EXPECT_EQ(passed(points, after(step - 1), after(step)), step == 3 || step == 5 || step == 6) << step;
  EXPECT_FALSE(passed(SavePoints{}, after(0), after(1)));
}

TEST(Passed, DoublingSteps) {
  for (int64_t step = 1; step <= 40; ++step)
    EXPECT_EQ(passed(SavePoints{.doubling = true}, after(step - 1), after(step)),
              step == 1 || step == 2 || step == 4 || step == 8 || step == 16 || step == 32)
        << step;
}

}  // namespace
}  // namespace sisa::launcher
