#include "launcher/run/reporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/error.h"
#include "common/file.h"
#include "common/text.h"
#include "launcher/run/device.h"

namespace sisa::tests {
namespace {

using launcher::Reporter;
using launcher::StepReport;
using testing::HasSubstr;
using testing::Not;

const StepReport step{.step = 7,
                      .total_steps = 1000,
                      .tokens = 700,
                      .samples = 70,
                      .loss = 2.5,
                      .gradient_norm = 0.25,
                      .learning_rate = 1e-3,
                      .tokens_per_second = 12345,
                      .seconds = 0.5,
                      .seconds_left = 90};

TEST(StatusLine, AlignsWhateverTheStep) {
  StepReport last = step;
  last.step = 1000;
  const std::string a = launcher::status_line(step), b = launcher::status_line(last);
  EXPECT_EQ(a.find("loss"), b.find("loss"));
  EXPECT_EQ(a.find("ETA"), b.find("ETA"));
  EXPECT_THAT(a, HasSubstr("loss  2.5000"));
  EXPECT_THAT(a, HasSubstr("ETA 1min 30s"));
}

TEST(StatusLine, LeavesOutAnUnknownMfu) {
  EXPECT_THAT(launcher::status_line(step), Not(HasSubstr("MFU")));
  StepReport known = step;
  known.mfu = 0.419;
  EXPECT_THAT(launcher::status_line(known), HasSubstr("MFU 41.9%"));
}

TEST(BoxedTable, CountsCharactersAndNotBytes) {
  std::vector<std::string> lines =
      common::split(launcher::boxed_table("t", {{"a", "ü"}, {"", ""}, {"b", "xy"}}), '\n');
  lines.pop_back();
  const auto width = [](const std::string& text) {
    return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
  };
  for (const std::string& line : lines) EXPECT_EQ(width(line), width(lines.front())) << line;
}

class MetricsFile : public testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::path(testing::TempDir()) / ("metrics-" + std::to_string(getpid()) + ".jsonl");
    std::filesystem::remove(path_);
  }
  void TearDown() override { std::filesystem::remove(path_); }
  std::vector<nlohmann::json> records() const {
    std::vector<nlohmann::json> all;
    std::istringstream lines(common::read_file(path_));
    for (std::string line; std::getline(lines, line);) all.push_back(nlohmann::json::parse(line));
    return all;
  }
  std::filesystem::path path_;
};

TEST_F(MetricsFile, HoldsStepsAndEventsAndIsAppendedTo) {
  testing::internal::CaptureStdout();
  {
    Reporter reporter(true, path_);
    reporter.step(step, false);
    StepReport bad = step;
    bad.applied = false;
    bad.loss = std::numeric_limits<double>::quiet_NaN();
    reporter.step(bad, false);
  }
  Reporter(true, path_).event("end", 9, {{"why", "test"}}, "over");
  const std::string shown = testing::internal::GetCapturedStdout();
  EXPECT_THAT(shown, HasSubstr("skipped"));  // is shown even when steps are not
  EXPECT_THAT(shown, HasSubstr("over"));
  const auto all = records();
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0]["loss"], 2.5);
  EXPECT_EQ(all[0]["samples"], 70);
  EXPECT_TRUE(all[1]["loss"].is_null());
  EXPECT_EQ(all[2]["event"], "skip");
  EXPECT_EQ(all[3]["why"], "test");
}

TEST_F(MetricsFile, IsLeftAloneByOtherRanks) {
  Reporter quiet(false, path_);
  testing::internal::CaptureStdout();
  quiet.step(step, true);
  quiet.say("nothing");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(MetricsFile, MustBeWritable) {
  EXPECT_THROW(Reporter(true, "/no/such/folder/metrics.jsonl"), Error);
}

TEST(PeakFlops, TheLongerNameWins) {
  using common::Precision;
  EXPECT_EQ(launcher::peak_flops("NVIDIA H100 80GB HBM3", Precision::bf16), 989.4e12);
  EXPECT_EQ(launcher::peak_flops("NVIDIA H100 PCIe", Precision::bf16), 756e12);
  EXPECT_EQ(launcher::peak_flops("NVIDIA L40S", Precision::bf16), 362e12);
  EXPECT_FALSE(launcher::peak_flops("CPU, 2 threads", Precision::fp32));
}

}  // namespace
}  // namespace sisa::tests
