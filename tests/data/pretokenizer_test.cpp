#include "data/tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "data/tokenizer/normalize.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data {
namespace {

using testing::ElementsAre;

std::vector<std::string> pieces(const Pretokenizer& pretokenizer, std::string_view text) {
  std::vector<std::string> result;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = pretokenizer.piece_end(text, begin);
    EXPECT_GT(end, begin);
    result.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return result;
}

const Pretokenizer gpt2 = Pretokenizer::gpt2();
const Pretokenizer llama3 = Pretokenizer::from_pattern(
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
const Pretokenizer qwen2 = Pretokenizer::from_pattern(
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");

TEST(Pretokenizer, WordsNumbersPunctuation) {
  EXPECT_THAT(pieces(gpt2, "Hello, world 1234!!"), ElementsAre("Hello", ",", " world", " 1234", "!!"));
  EXPECT_THAT(pieces(llama3, "Hello, world 1234!!"),
              ElementsAre("Hello", ",", " world", " ", "123", "4", "!!"));
  EXPECT_THAT(pieces(qwen2, "a 12"), ElementsAre("a", " ", "1", "2"));
  EXPECT_THAT(pieces(gpt2, "été日本²³½"), ElementsAre("été日本", "²³½"));
}

TEST(Pretokenizer, Contractions) {
  EXPECT_THAT(pieces(gpt2, "don't I'LL we've 's"),
              ElementsAre("don", "'t", " I", "'", "LL", " we", "'ve", " '", "s"));
  EXPECT_THAT(pieces(llama3, "don'T I'LL we'vE"), ElementsAre("don", "'T", " I", "'LL", " we", "'vE"));
  EXPECT_THAT(pieces(llama3, "it'\u017fx 'hello"), ElementsAre("it", "'\u017f", "x", " '", "hello"));
  EXPECT_THAT(pieces(gpt2, "'"), ElementsAre("'"));
  EXPECT_THAT(pieces(gpt2, "'l 'r"), ElementsAre("'", "l", " '", "r"));
}

TEST(Pretokenizer, WhiteSpace) {
  EXPECT_THAT(pieces(gpt2, "a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(pieces(gpt2, "a\n\nb \n"), ElementsAre("a", "\n", "\n", "b", " \n"));
  EXPECT_THAT(pieces(gpt2, "  "), ElementsAre("  "));
  EXPECT_THAT(pieces(gpt2, "a\u3000 b"), ElementsAre("a", "\u3000", " b"));
  EXPECT_THAT(pieces(llama3, "a \n\n  b;\r\n\n"), ElementsAre("a", " \n\n", " ", " b", ";\r\n\n"));
  EXPECT_THAT(pieces(llama3, "\tx .\ty"), ElementsAre("\tx", " .", "\ty"));
  EXPECT_THAT(pieces(llama3, "(x)"), ElementsAre("(x", ")"));
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
