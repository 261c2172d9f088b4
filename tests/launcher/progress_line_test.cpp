#include "launcher/run/progress_line.h"

#include <gtest/gtest.h>

namespace sisa::launcher {
namespace {

TEST(ProgressLine, ShowsRateAndTimeLeftOfThisRun) {
  data::PrepareProgress p{
      .documents = 1'234, .text_bytes = 300'000'000, .tokens = 70'000'000, .input_bytes = 60};
  EXPECT_EQ(describe_progress(p, 240, 10),
            "1,234 documents, 286.10 MiB, 70M tokens, 30.0 MB/s, 25%, 30.0s left");
  // What an earlier run had done says nothing about the rate.
  p.found_text_bytes = 200'000'000;
  p.found_input_bytes = 40;
  p.bad = 2;
  EXPECT_EQ(describe_progress(p, 240, 10),
            "1,234 documents, 286.10 MiB, 70M tokens, 10.0 MB/s, 2 skipped, 25%, 1min 30s left");
}

TEST(ProgressLine, NobodyKnowsHowLongAPipeIs) {
  const data::PrepareProgress p{.documents = 1, .text_bytes = 10, .tokens = 3, .input_bytes = 60};
  EXPECT_EQ(describe_progress(p, 0, 10), "1 documents, 10 bytes, 3 tokens, 0.0 MB/s");
  EXPECT_EQ(describe_progress({}, 240, 10),
            "0 documents, 0 bytes, 0 tokens, 0.0 MB/s");  // nothing to go by yet
}

}  // namespace
}  // namespace sisa::launcher
