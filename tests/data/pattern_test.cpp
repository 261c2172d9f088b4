// What patterns match and which are refused; tokenizer_golden_test.cpp compares them with the package's.
#include "data/tokenizer/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "common/error.h"
#include "data/tokenizer/bpe/pre_tokenizer.h"

namespace sisa::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> matches(std::string_view expression, std::string_view text) {
  Pattern::Memory memory;
  std::vector<std::string> all;
  bpe::for_each_match(Pattern(expression), text, memory,
                      [&](size_t begin, size_t end) { all.emplace_back(text.substr(begin, end - begin)); });
  return all;
}

TEST(Pattern, TakesTheFirstWayThatMatches) {
  EXPECT_THAT(matches("a|ab", "abab"), ElementsAre("a", "a"));
  EXPECT_THAT(matches("(?:a|ab)c", "abc ac"), ElementsAre("abc", "ac"));
  EXPECT_THAT(matches("a+?b?", "aab"), ElementsAre("a", "ab"));
  EXPECT_THAT(matches("a*+a|b", "aab"), ElementsAre("b"));
  EXPECT_THAT(matches("(?>a|ab)c", "abcac"), ElementsAre("ac"));
  EXPECT_THAT(matches("x*", "axb"), ElementsAre("", "x", ""));
}

TEST(Pattern, RepeatsAsRubyDoes) {
  EXPECT_THAT(matches("a{2}", "aaaaa"), ElementsAre("aa", "aa"));
  EXPECT_THAT(matches("a{2,3}+b", "aaaab"), ElementsAre("aaaab"));  // a + repeats all of it
  EXPECT_THAT(matches("xa{,2}", "xaaa"), ElementsAre("xaa"));
  EXPECT_THAT(matches("a{2}?b", "aabb"), ElementsAre("aab", "b"));  // a ? makes it optional
  EXPECT_THAT(matches("a{1,3}?", "aa"), ElementsAre("a", "a"));
  EXPECT_THAT(matches("a{x}", "a{x}"), ElementsAre("a{x}"));
  EXPECT_THAT(matches("(?:ab){2,}", "ababab ab"), ElementsAre("ababab"));
}

TEST(Pattern, ClassesOfCharacters) {
  EXPECT_THAT(matches("[^(\\s|[.,]]+", "ab(c|d.e f"), ElementsAre("ab", "c", "d", "e", "f"));  // BLOOM's
  EXPECT_THAT(matches("[\\p{L}&&[^\\p{Han}]]+", "ab\u6f22c"), ElementsAre("ab", "c"));         // Kimi's
  EXPECT_THAT(matches("[]a]+", "a]b"), ElementsAre("a]"));
  EXPECT_THAT(matches("[a-c\\-]+", "ab-d"), ElementsAre("ab-"));
  EXPECT_THAT(matches("[\\w-]+", "ab-d!"), ElementsAre("ab-d"));
  EXPECT_THAT(matches("\\p{^Lu}", "Aa"), ElementsAre("a"));
  EXPECT_THAT(matches("\\p{uppercase letter}|\\P{L}", "Aa1"), ElementsAre("A", "1"));
}

TEST(Pattern, LooksAround) {
  EXPECT_THAT(matches("\\s+(?!\\S)|\\s+", "a   b"), ElementsAre("  ", " "));
  EXPECT_THAT(matches("\\d{1,3}(?=(?:\\d{3})*\\b)", "1234567"), ElementsAre("1", "234", "567"));
  EXPECT_THAT(matches("(?<=a|bc)x", "axbcxx"), ElementsAre("x", "x"));
  EXPECT_THAT(matches("(?<!a|\u00e9)x", "ax\u00e9xx"), ElementsAre("x"));
  EXPECT_THAT(matches("^a|b$", "a\nab\nb"), ElementsAre("a", "a", "b", "b"));  // of every line
  EXPECT_THAT(matches("\\Aa|a\\z", "a\na"), ElementsAre("a", "a"));
}

TEST(Pattern, WithoutRegardToCase) {
  EXPECT_THAT(matches("(?i:'s|k)", "'S'\u017fk\u212aK's"),
              ElementsAre("'S", "'\u017f", "k", "\u212a", "K", "'s"));
  EXPECT_THAT(matches("a(?i)b|c", "aBaC"), ElementsAre("aB", "aC"));  // what follows, with its choices
  EXPECT_THAT(matches("(?i:[a-c])x", "BxDx"), ElementsAre("Bx"));
  EXPECT_THAT(matches("(?i:[[^a]b])", "aA"), ElementsAre("a", "A"));  // A is not a, and a is a case of A
}

TEST(Pattern, LongTextTakesLinearTime) {
  const std::string spaces(2'000'000, ' '), letters(2'000'000, 'A');
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(matches("\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", spaces).size(), 1u);
  EXPECT_EQ(matches("[\\p{Lu}\\p{Lt}]*[\\p{Ll}]+|[\\p{Lu}]+[\\p{Ll}]*", letters).size(), 1u);
  EXPECT_EQ(matches("(?:ab|A)+", letters).size(), 1u);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 10);
}

TEST(Pattern, GivesUpWhereItWouldTakeForEver) {
  Pattern::Memory memory;
  Pattern::Match match;
  EXPECT_THAT(([&] { Pattern("(?:a+)+b|(?:a|a)+c").find(std::string(60, 'a'), 0, memory, match); }),
              testing::ThrowsMessage<Error>(HasSubstr("too many steps for a text of 60 bytes")));
  EXPECT_TRUE(Pattern("a").find("ba", 0, memory, match));
}

TEST(Pattern, RefusesWhatItDoesNotKnow) {
  const auto expect = [](const char* expression, const char* what) {
    EXPECT_THAT([&] { Pattern{expression}; }, testing::ThrowsMessage<Error>(HasSubstr(what))) << expression;
  };
  expect("(a", "a ( without its ) at byte 0");
  expect("a)", "a ) without its ( at byte 1");
  expect("[a", "a [ without its ] at byte 1");
  expect("*a", "nothing before it to repeat at byte 0");
  expect("(a)\\1", "\\1, which cannot be used, at byte");
  expect("\\p{Klingon}", "the property Klingon, of which there is no table");
  expect("[[:alpha:]]", "a POSIX class");
  expect("(?x: a)", "a group of another kind");
  expect("(?<name>a)", "a group of another kind");
  expect("(?i:\u00e9)", "letters beyond ASCII where case does not count");
  expect("(?i:ss)", "the letters ss without regard to case");
  expect("(?i:\\p{Lu})", "a property that depends on case");
  expect("(?:a*)*", "repeats a group that may match nothing");
  expect("(?<=a+)b", "looks back over text of no fixed length");
  expect("a{3,2}", "a repetition whose least number is the larger one");
  expect("a{2000}", "a repetition of more than 1000 times");
  expect("(?:(?:(?:a{100}b){100}c){100}d){100}", "too long once its repetitions are written out");
  expect("a\\", "nothing behind its last backslash");
  expect("[a-[b]]", "a range that begins or ends with a class, at byte 2");
  expect("[\\d-z]", "a range that begins or ends with a class");
  expect("[b-a]", "a range whose end lies before its beginning");
  expect("\xff", "is no UTF-8");
  expect(std::string(1000, '(').c_str(), "groups nested more than 50 levels deep");
  expect(("a" + std::string(100, '[')).c_str(), "classes nested more than 50 levels deep");
}

}  // namespace
}  // namespace sisa::data
