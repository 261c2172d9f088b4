#include "data/tokenizer/known_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "data/tokenizer/normalize.h"
#include "data/tokenizer/pattern.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data {
namespace {

using testing::ElementsAre;

std::vector<std::string> pieces(const KnownPattern& pattern, std::string_view text) {
  std::vector<std::string> result;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = pattern.piece_end(text, begin);
    EXPECT_GT(end, begin);
    result.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return result;
}

constexpr std::string_view gpt2_text =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view llama3_text =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view qwen2_text =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view cl100k_text =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
const KnownPattern gpt2 = KnownPattern::gpt2();
const KnownPattern llama3 = *KnownPattern::find(llama3_text);
const KnownPattern qwen2 = *KnownPattern::find(qwen2_text);

TEST(KnownPattern, WordsNumbersPunctuation) {
  EXPECT_THAT(pieces(gpt2, "Hello, world 1234!!"), ElementsAre("Hello", ",", " world", " 1234", "!!"));
  EXPECT_THAT(pieces(llama3, "Hello, world 1234!!"),
              ElementsAre("Hello", ",", " world", " ", "123", "4", "!!"));
  EXPECT_THAT(pieces(qwen2, "a 12"), ElementsAre("a", " ", "1", "2"));
  EXPECT_THAT(pieces(gpt2, "été日本²³½"), ElementsAre("été日本", "²³½"));
}

TEST(KnownPattern, Contractions) {
  EXPECT_THAT(pieces(gpt2, "don't I'LL we've 's"),
              ElementsAre("don", "'t", " I", "'", "LL", " we", "'ve", " '", "s"));
  EXPECT_THAT(pieces(llama3, "don'T I'LL we'vE"), ElementsAre("don", "'T", " I", "'LL", " we", "'vE"));
  EXPECT_THAT(pieces(llama3, "it'\u017fx 'hello"), ElementsAre("it", "'\u017f", "x", " '", "hello"));
  EXPECT_THAT(pieces(gpt2, "'"), ElementsAre("'"));
  EXPECT_THAT(pieces(gpt2, "'l 'r"), ElementsAre("'", "l", " '", "r"));
}

TEST(KnownPattern, WhiteSpace) {
  EXPECT_THAT(pieces(gpt2, "a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(pieces(gpt2, "a\n\nb \n"), ElementsAre("a", "\n", "\n", "b", " \n"));
  EXPECT_THAT(pieces(gpt2, "  "), ElementsAre("  "));
  EXPECT_THAT(pieces(gpt2, "a\u3000 b"), ElementsAre("a", "\u3000", " b"));
  EXPECT_THAT(pieces(llama3, "a \n\n  b;\r\n\n"), ElementsAre("a", " \n\n", " ", " b", ";\r\n\n"));
  EXPECT_THAT(pieces(llama3, "\tx .\ty"), ElementsAre("\tx", " .", "\ty"));
  EXPECT_THAT(pieces(llama3, "(x)"), ElementsAre("(x", ")"));
}

TEST(KnownPattern, CutsAsTheExpressionItselfDoes) {
  EXPECT_FALSE(KnownPattern::find("a"));
  const char* parts[] = {"a",  "B",  "'s", "'RE", "'\u017f",    "don't",  "1",      "23",     "\u00b2", " ",
                         "  ", "\t", "\n", "\r",  "\r\n",       "\u3000", "\u00e9", "\u65e5", "\u0301", ".",
                         "//", "!?", "'",  "'l",  "\U0001f600", "\u0967", "\u0085", "k",      "\u212a", "ll"};
  Pattern::Memory memory;
  uint64_t state = 1;
  for (const std::string_view expression : {gpt2_text, llama3_text, qwen2_text, cl100k_text}) {
    const KnownPattern known = *KnownPattern::find(expression);
    const Pattern pattern(expression);
    for (int round = 0; round < 3000; ++round) {
      std::string text;
      for (int i = 0; i < 12; ++i) {
        state = state * 6364136223846793005 + 1442695040888963407;
        text += parts[(state >> 33) % std::size(parts)];
      }
      std::vector<std::string> expected;
      for (size_t done = 0; done < text.size();) {
        Pattern::Match match;
        ASSERT_TRUE(pattern.find(text, done, memory, match)) << text;
        ASSERT_EQ(match.begin, done) << text;
        expected.push_back(text.substr(done, match.end - done));
        done = match.end;
      }
      ASSERT_EQ(pieces(known, text), expected) << expression;
    }
  }
}

TEST(Normalize, OtherFormsAndLowerCase) {
  std::string buffer;
  const auto form = [&](std::string_view text, NormalizationForm name) {
    return std::string(normalized(text, name, buffer));
  };
  EXPECT_EQ(form("\u00e9\uac01\ufb01", NormalizationForm::nfd), "e\u0301\u1100\u1161\u11a8\ufb01");
  EXPECT_EQ(form("\ufb01\u338f\u00b2e\u0301", NormalizationForm::nfkc), "fikg2\u00e9");
  EXPECT_EQ(form("\ufb01\u00e9", NormalizationForm::nfkd), "fie\u0301");
  EXPECT_EQ(lower_case("\u00c9A\u0130\u03a3x1", buffer), "\u00e9ai\u0307\u03c3x1");
}

TEST(Normalize, ComposesAndOrders) {
  std::string buffer;
  const auto expect = [&](std::string_view text, std::string_view form) {
    EXPECT_EQ(nfc(text, buffer), form) << text;
  };
  expect("plain", "plain");
  expect("e\u0301", "\u00e9");
  expect("a\u0323\u0302", "\u1ead");  // in any order
  expect("a\u0302\u0323", "\u1ead");
  expect("\u212b\u2126", "\u00c5\u03a9");  // Angstrom, Ohm
  expect("\u1100\u1161\u11a8", "\uac01");  // Hangul
  expect("\uac00\u11a8x", "\uac01x");
  expect("\u0958", "\u0915\u093c");  // excluded from composition
  expect("\u0301x", "\u0301x");      // nothing to stand on
  expect("x\u0334\u0301e\u0301\u0301", "x\u0334\u0301\u00e9\u0301");
  EXPECT_EQ(nfc("caf\u00e9", buffer).data()[0], 'c');
  const std::string composed = "caf\u00e9 \u3042";
  EXPECT_EQ(nfc(composed, buffer).data(), composed.data()) << "copied for nothing";
}

TEST(Unicode, AppendsWhatItReads) {
  for (char32_t c = 0; c < 0x110000; c += c < 0x800 ? 1 : 97) {
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string text = "x";
    append_utf8(c, text);
    EXPECT_EQ(character_at(text, 1).code, c);
    EXPECT_EQ(character_at(text, 1).end, text.size());
    EXPECT_EQ(character_before(text, text.size()).code, c);
  }
}

}  // namespace
}  // namespace sisa::data
