#include "launcher/recipe/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace sisa::tests {
namespace {

using launcher::Schedule;
using launcher::ScheduleKind;
using launcher::WarmupStart;

TEST(Schedule, WarmsUpFromExactlyZero) {
  for (const ScheduleKind kind : {ScheduleKind::cosine, ScheduleKind::wsd, ScheduleKind::constant}) {
    const Schedule schedule{kind, 100, 10, 20};
    EXPECT_EQ(schedule.factor(0), 0);
    EXPECT_DOUBLE_EQ(schedule.factor(5), 0.5);
    EXPECT_EQ(schedule.factor(10), 1);
  }
}

TEST(Schedule, WarmsUpFromTheFirstStep) {
  for (const ScheduleKind kind : {ScheduleKind::cosine, ScheduleKind::wsd, ScheduleKind::constant}) {
    const Schedule zero{kind, 100, 10, 20}, first_step{kind, 100, 10, 20, WarmupStart::first_step};
    EXPECT_DOUBLE_EQ(first_step.factor(0), 0.1);
    EXPECT_DOUBLE_EQ(first_step.factor(4), 0.5);
    EXPECT_LT(first_step.factor(8), 1);
    EXPECT_EQ(first_step.factor(9), 1);
    for (int64_t step = 10; step <= 101; ++step) EXPECT_EQ(first_step.factor(step), zero.factor(step));
  }
  EXPECT_EQ((Schedule{ScheduleKind::cosine, 100, 1, 0, WarmupStart::first_step}).factor(0), 1);
  EXPECT_EQ((Schedule{ScheduleKind::cosine, 100, 0, 0, WarmupStart::first_step}).factor(0), 1);
}

// Spec section 0: the last step is the last before 0, and still learns.
TEST(Schedule, ThePublishedRun) {
  const Schedule schedule{ScheduleKind::cosine, 9536, 500, 0};
  EXPECT_EQ(schedule.factor(0), 0);
  EXPECT_DOUBLE_EQ(schedule.factor(1), 1.0 / 500);
  EXPECT_EQ(schedule.factor(500), 1);
  EXPECT_DOUBLE_EQ(schedule.factor(5018), 0.5);
  EXPECT_DOUBLE_EQ(schedule.factor(9535), 0.5 * (1 + std::cos(std::numbers::pi * 9035 / 9036)));
  EXPECT_GT(schedule.factor(9535), 0);
  EXPECT_EQ(schedule.factor(9536), 0);
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
