#include "launcher/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace sisa::tests {
namespace {

using launcher::Schedule;
using launcher::ScheduleKind;

TEST(Schedule, WarmsUpFromExactlyZero) {
  for (const ScheduleKind kind : {ScheduleKind::cosine, ScheduleKind::wsd, ScheduleKind::constant}) {
    const Schedule schedule{kind, 100, 10, 20};
    EXPECT_EQ(schedule.factor(0), 0);
    EXPECT_DOUBLE_EQ(schedule.factor(5), 0.5);
    EXPECT_EQ(schedule.factor(10), 1);
  }
}

TEST(Schedule, CosineFallsToExactlyZero) {
  const Schedule schedule{ScheduleKind::cosine, 110, 10, 0};
  EXPECT_DOUBLE_EQ(schedule.factor(60), 0.5);
  EXPECT_DOUBLE_EQ(schedule.factor(35), 0.5 * (1 + std::cos(std::numbers::pi / 4)));
  EXPECT_EQ(schedule.factor(110), 0);
  EXPECT_EQ(schedule.factor(500), 0);
  for (int64_t step = 10; step < 110; ++step) EXPECT_GT(schedule.factor(step), schedule.factor(step + 1));
}

TEST(Schedule, WsdStaysAndThenFallsInAStraightLine) {
  const Schedule schedule{ScheduleKind::wsd, 100, 10, 20};
  EXPECT_EQ(schedule.factor(80), 1);
  EXPECT_DOUBLE_EQ(schedule.factor(90), 0.5);
  EXPECT_DOUBLE_EQ(schedule.factor(99), 0.05);
  EXPECT_EQ(schedule.factor(100), 0);
  EXPECT_EQ((Schedule{ScheduleKind::wsd, 100, 10, 0}).factor(99), 1);  // without a cool-down
}

TEST(Schedule, ConstantStays) {
  EXPECT_EQ((Schedule{ScheduleKind::constant, 100, 0, 0}).factor(0), 1);
}

}  // namespace
}  // namespace sisa::tests
