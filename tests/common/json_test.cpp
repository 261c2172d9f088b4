#include "common/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "common/hash.h"

namespace sisa::common {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// The library parses such a text, and then overflows the stack when it copies the value.
TEST(JsonTest, RefusesATextThatIsNestedDeeply) {
  for (const char* const bracket : {"[", "{\"a\":"})
    EXPECT_THAT([&] { parse_json<json>(repeated(bracket, 1'000'000), "FILE"); },
                ThrowsMessage<JsonError>(HasSubstr("FILE is nested more than 64 levels deep at byte ")));
  const std::string deep = repeated("[", 64) + repeated("]", 64);
  EXPECT_EQ(parse_json<json>(deep, "FILE").dump(), deep);
  EXPECT_EQ(parse_json<json>(repeated("[", 3) + repeated("]", 3), "FILE", {.levels = 3}).size(), 1u);
}

TEST(JsonTest, BracketsInTextsAreNoNesting) {
  const json value = {{"a", repeated("[", 100) + "\"\\" + repeated("{", 100)}, {"b", "\\"}, {"c", {1, 2}}};
  EXPECT_EQ(parse_json<json>(value.dump(), "FILE"), value);
  EXPECT_EQ(beyond_limits(value.dump()), "");
}

TEST(JsonTest, RefusesATextOfTooManyValues) {
  EXPECT_THAT([] { parse_json<json>("[1,2,3]", "FILE", {.values = 3}); },
              ThrowsMessage<JsonError>(HasSubstr("has more than 3 values")));
  EXPECT_EQ(parse_json<json>("[1,2]", "FILE", {.values = 3}).size(), 2u);
}

TEST(JsonTest, SaysWhatIsNoJson) {
  EXPECT_THAT([] { parse_json<json>("{\"a\": tru", "FILE"); },
              ThrowsMessage<JsonError>(AllOf(testing::StartsWith("FILE is no JSON: "),
                                             HasSubstr("line 1, column"), Not(HasSubstr("json.exception")))));
  for (const char* const text : {"", "\"", "\"\\", "[", "]]]", "{\"a\" 1}", "\xff", "1e999999"})
    EXPECT_THROW(parse_json<json>(text, "FILE"), JsonError) << text;
  EXPECT_THAT([] { parse_json<json>("\"" + std::string(1'000'000, 'x'), "FILE"); },
              ThrowsMessage<JsonError>(testing::SizeIs(testing::Lt(500u))));
}

TEST(JsonTest, TakesValuesOut) {
  const json value = {{"n", 5},    {"x", 0.5},       {"t", "text"},
                      {"f", true}, {"list", {1, 2}}, {"h", hash_hex(77)}};
  const JsonPart root(value, "FILE: ");
  EXPECT_EQ(root.at("n").integer(5, 5), 5);
  EXPECT_EQ(root.at("x").number(), 0.5);
  EXPECT_EQ(root.at("n").number(), 5);
  EXPECT_EQ(root.at("t").text(), "text");
  EXPECT_TRUE(root.at("f").flag(false));
  EXPECT_TRUE(root.at("none").flag(true));
  EXPECT_EQ(root.at("list").items().at(1).integer(0, 9), 2);
  EXPECT_EQ(root.at("h").hash(), 77u);
  EXPECT_TRUE(root.has("n"));
  EXPECT_FALSE(root.has("none"));
}

TEST(JsonTest, NamesThePlaceOfAWrongValue) {
  const json value = {{"list", {1, "x", -3, nullptr, 1.5, uint64_t{1} << 63}},
                      {"long", std::string(1000, 'x')}};
  const JsonPart root(value, "FILE: ");
  const auto items = root.at("list").items();
  const auto says = [](auto call, const std::string& sentence) {
    EXPECT_THAT(call, ThrowsMessage<JsonError>(testing::StrEq(sentence)));
  };
  says([&] { items[0].text(); }, "FILE: list[0] is 1, where a text is expected");
  says([&] { items[1].integer(0, 9); }, "FILE: list[1] is \"x\", where an integer from 0 to 9 is expected");
  says([&] { items[2].integer(0, 9); }, "FILE: list[2] is -3, where an integer from 0 to 9 is expected");
  says([&] { items[3].integer(0, 9); }, "FILE: list[3] is nothing, where an integer from 0 to 9 is expected");
  says([&] { items[4].integer(0, 9); }, "FILE: list[4] is 1.5, where an integer from 0 to 9 is expected");
  says([&] { items[5].integer(0, 9); },
       "FILE: list[5] is 9223372036854775808, where an integer from 0 to 9 is expected");
  says([&] { items[1].number(); }, "FILE: list[1] is \"x\", where a number is expected");
  says([&] { items[0].flag(true); }, "FILE: list[0] is 1, where true or false is expected");
  says([&] { items[0].at("a"); }, "FILE: list[0] is 1, where an object is expected");
  says([&] { root.items(); }, "FILE: is " + root.shown() + ", where a list is expected");
  says([&] { root.at("none").text(); }, "FILE: none is nothing, where a text is expected");
  for (const char* const wrong :
       {"", "1", "+123456789012345", "0x12345678901234", "12345678901234567", "123456789012345g"}) {
    const json checksum = wrong;
    EXPECT_THROW(JsonPart(checksum, "FILE: ").hash(), JsonError) << wrong;
  }
  EXPECT_LT(root.at("long").shown().size(), 70u);
}

}  // namespace
}  // namespace sisa::common
