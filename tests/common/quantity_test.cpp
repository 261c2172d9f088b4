#include "common/quantity.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "common/error.h"

namespace sisa::common {
namespace {
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(QuantityTest, ReadsNumbersMultipliersAndUnits) {
  struct Row {
    const char* text;
    double value;
    Unit unit;
  };
  for (const Row& row : {Row{"5B tokens", 5e9, Unit::tokens},
                         {"500 steps", 500, Unit::steps},
                         {"1 step", 1, Unit::steps},
                         {"3 samples", 3, Unit::samples},
                         {"30min", 1800, Unit::seconds},
                         {"2.5 h", 9000, Unit::seconds},
                         {"1d", 86400, Unit::seconds},
                         {"250ms", 0.25, Unit::seconds},
                         {"64MiB", 67108864, Unit::bytes},
                         {"1.5 GB", 1.5e9, Unit::bytes},
                         {"7 bytes", 7, Unit::bytes},
                         {"2%", 0.02, Unit::none},
                         {"3k", 3000, Unit::none},
                         {"3K", 3000, Unit::none},
                         {"1.2M", 1.2e6, Unit::none},
                         {"2T", 2e12, Unit::none},
                         {"5Btokens", 5e9, Unit::tokens},
                         {"  10k  steps ", 10000, Unit::steps},
                         {"1,000", 1000, Unit::none},
                         {"12,345,678 tokens", 12345678, Unit::tokens},
                         {"524_288", 524288, Unit::none},
                         {"6e-4", 6e-4, Unit::none},
                         {"1E3", 1000, Unit::none},
                         {"+5", 5, Unit::none},
                         {"-1.5", -1.5, Unit::none},
                         {".5", 0.5, Unit::none},
                         {"0", 0, Unit::none}}) {
    const Quantity quantity = parse_quantity(row.text);
    EXPECT_DOUBLE_EQ(quantity.value, row.value) << row.text;
    EXPECT_EQ(quantity.unit, row.unit) << row.text;
  }
}

TEST(QuantityTest, RefusesWhatIsNone) {
  for (const char* text :
       {"",       "  ",        "tokens",    "five",   "5 apples", "5 Tokens", "1.2.3", "--5",
        "5-",     "1e",        "1e999",     "nan",    "inf",      "0x10",     "5kk",   "5M%",
        "5%k",    "5% tokens", "5s tokens", "1e308T", "1,5",      "1,5000",   ",500",  "500,",
        "1,,000", "5 B 3",     "min",       "64 mib", "."})
    EXPECT_THAT([&] { parse_quantity(text); },
                ThrowsMessage<Error>(AllOf(HasSubstr(std::string("'") + text + "' is not a quantity"),
                                           HasSubstr("5B tokens"))))
        << text;
}

TEST(QuantityTest, CountsAreWholeNumbersOfTheirUnit) {
  EXPECT_EQ(parse_count("5B", Unit::tokens), 5'000'000'000);
  EXPECT_EQ(parse_count("5B tokens", Unit::tokens), 5'000'000'000);
  EXPECT_EQ(parse_count("0", Unit::steps), 0);
  EXPECT_EQ(parse_count("9007199254740992", Unit::none), int64_t{1} << 53);
  EXPECT_EQ(parse_count("64MiB", Unit::bytes), int64_t{64} << 20);
}

TEST(QuantityTest, DecimalsWithAMultiplierAreExactCounts) {
  // 1.001 * 1e3 is 1000.9999999999999 in doubles; no such count may be refused or be off by one.
  for (int64_t thousandths = 1; thousandths < 10'000; ++thousandths) {
    const std::string number = fmt::format("{}.{:03d}", thousandths / 1000, thousandths % 1000);
    ASSERT_EQ(parse_count(number + "k", Unit::none), thousandths) << number;
    ASSERT_EQ(parse_count(number + "M", Unit::none), thousandths * 1000) << number;
    ASSERT_EQ(parse_count(number + "B tokens", Unit::tokens), thousandths * 1'000'000) << number;
  }
}

TEST(QuantityTest, RefusesOtherUnitsAndBrokenCounts) {
  EXPECT_THAT([] { parse_count("5 steps", Unit::tokens); },
              ThrowsMessage<Error>("'5 steps' is a number of steps, but a number of tokens was expected."));
  EXPECT_THAT(
      [] { parse_count("5 steps", Unit::none); },
      ThrowsMessage<Error>("'5 steps' is a number of steps, but a number without a unit was expected."));
  for (const char* text : {"-1", "1.5", "0.0001k", "50%", "9007199254740994", "1e300"})
    EXPECT_THAT([&] { parse_count(text, Unit::tokens); },
                ThrowsMessage<Error>(HasSubstr("is not a whole number from 0 to 2^53")))
        << text;
}

TEST(QuantityTest, NamesEveryUnit) {
  EXPECT_EQ(unit_name(Unit::none), "");
  EXPECT_EQ(unit_name(Unit::tokens), "tokens");
  EXPECT_EQ(unit_name(Unit::steps), "steps");
  EXPECT_EQ(unit_name(Unit::samples), "samples");
  EXPECT_EQ(unit_name(Unit::seconds), "seconds");
  EXPECT_EQ(unit_name(Unit::bytes), "bytes");
}

TEST(QuantityTest, FormatsCounts) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-123), "-123");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(QuantityTest, FormatsShortNumbers) {
  EXPECT_EQ(format_short(0), "0");
  EXPECT_EQ(format_short(950), "950");
  EXPECT_EQ(format_short(1000), "1K");
  EXPECT_EQ(format_short(1.234e6), "1.23M");
  EXPECT_EQ(format_short(5e9), "5B");
  EXPECT_EQ(format_short(2e12), "2T");
  EXPECT_EQ(format_short(-1.5e6), "-1.5M");
  EXPECT_EQ(format_short(999.6), "1K");  // never "1e+03"
  EXPECT_EQ(format_short(999'999), "1M");
  EXPECT_EQ(format_short(5.634e15), "5.63e+15");
  for (double x = 1; x < 1e14; x *= 1.00037) ASSERT_THAT(format_short(x), testing::Not(HasSubstr("e+"))) << x;
}

TEST(QuantityTest, FormatsBytesAndDurations) {
  EXPECT_EQ(format_bytes(17), "17 bytes");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(0x1.8p30), "1.50 GiB");
  EXPECT_EQ(format_bytes(0x1p42), "4.00 TiB");
  EXPECT_EQ(format_duration(12.34), "12.3s");
  EXPECT_EQ(format_duration(59.94), "59.9s");
  EXPECT_EQ(format_duration(59.96), "1min 00s");
  EXPECT_EQ(format_duration(185), "3min 05s");
  EXPECT_EQ(format_duration(3599.6), "1h 00min");
  EXPECT_EQ(format_duration(3720), "1h 02min");
  EXPECT_EQ(format_duration(90000), "1d 01h");
}

}  // namespace
}  // namespace sisa::common
