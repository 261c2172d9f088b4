#include "data/tokenizer/make_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "data/tokenizer/utf8.h"
#include "tests/data/data_folder.h"

namespace sisa::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class TokenizerTest : public DataFolder {};

TEST_F(TokenizerTest, BytesAreTheirOwnIds) {
  const auto tokenizer = make_tokenizer("bytes");
  EXPECT_EQ(tokenizer->vocab_size(), 257);
  EXPECT_EQ(tokenizer->end_of_document(), 256u);
  EXPECT_EQ(tokenizer->fingerprint(), "bytes");
  std::vector<uint32_t> ids = {7};
  tokenizer->encode("a\xC3\xA9\n", ids);
  EXPECT_THAT(ids, ElementsAre(7, 'a', 0xC3, 0xA9, '\n'));  // appended
}

TEST_F(TokenizerTest, BytesDecodeToWhatWasEncoded) {
  const auto tokenizer = make_tokenizer("bytes");
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  std::vector<uint32_t> ids;
  tokenizer->encode(every_byte, ids);
  EXPECT_EQ(ids.size(), 256u);
  ids.insert(ids.begin() + 100, tokenizer->end_of_document());
  EXPECT_EQ(tokenizer->decode(ids), every_byte);
  EXPECT_EQ(tokenizer->decode({}), "");
}

TEST_F(TokenizerTest, RefusesWhatItCannotDecode) {
  const std::vector<uint32_t> ids = {65, 257};
  EXPECT_THAT(refusal([&] { make_tokenizer("bytes")->decode(ids); }),
              AllOf(HasSubstr("257"), HasSubstr("0 to 256")));
}

TEST_F(TokenizerTest, RefusesNamesOfNothing) {
  EXPECT_THAT(refusal([] { make_tokenizer("byte"); }), AllOf(HasSubstr("'byte'"), HasSubstr("'bytes'")));
  EXPECT_THAT(refusal([] { make_tokenizer(std::string(5000, 'n')); }), HasSubstr("no tokenizer"));
}

TEST(Utf8Test, AcceptsEveryCharacterAndNothingElse) {
  constexpr size_t none = std::string_view::npos;
  for (const char* valid :
       {"", "ASCII, longer than eight bytes", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
        "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_EQ(find_invalid_utf8(valid), none) << valid;
  for (const char* invalid : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xE0\x9F\xBF",
                              "\xE0\xA0", "\xE1\x80\x41", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF0\x90\x80",
                              "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"})
    for (const std::string before : {"", "abc", "sixteen letters\xC3\xA9"}) {
      EXPECT_EQ(find_invalid_utf8(before + invalid), before.size()) << invalid;
      EXPECT_EQ(find_invalid_utf8(before + invalid + " and more text"), before.size()) << invalid;
    }
}

TEST(Utf8Test, FindsTheStartOfACharacter) {
  const std::string text = "a\xF0\x9F\x98\x80z";
  for (size_t offset = 0; offset <= text.size(); ++offset)
    EXPECT_EQ(character_start(text, offset), offset >= 1 && offset < 5 ? 1 : offset);
}

}  // namespace
}  // namespace sisa::data
