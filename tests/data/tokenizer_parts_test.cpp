// What each key of a tokenizer.json does; docs/data.md has the table. tokenizer_golden_test.cpp compares whole files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "data/tokenizer/bpe/tokenizer_file.h"
#include "data/tokenizer/make_tokenizer.h"
#include "tests/data/data_folder.h"
#include "tests/data/small_tokenizer.h"

namespace sisa::data {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class TokenizerPartsTest : public DataFolder {
 protected:
  json file = small_tokenizer();

  std::unique_ptr<Tokenizer> make() const {
    return make_tokenizer(write("tokenizer.json", file.dump()).string());
  }
  std::vector<uint32_t> encode(std::string_view text) const {
    std::vector<uint32_t> ids;
    make()->encode(text, ids);
    return ids;
  }
  void add(const std::string& content, json options = json::object()) {
    json token = {{"id", 1000}, {"content", content}, {"normalized", false}};
    token.update(options);
    file["added_tokens"].push_back(token);
  }
  // A vocabulary of characters: <unk> 0, </s> 1, ▁ 2, a 3, b 4, ab 5, ▁a 6, then the bytes <0x00> from 7 on.
  void use_characters() {
    json& model = file["model"];
    model["vocab"] = {{"<unk>", 0}, {"</s>", 1}, {"▁", 2}, {"a", 3}, {"b", 4}, {"ab", 5}, {"▁a", 6}};
    model["merges"] = {"a b", "▁ a"};
    model["unk_token"] = "<unk>";
    for (int byte = 0; byte < 256; ++byte) model["vocab"][fmt::format("<0x{:02X}>", byte)] = 7 + byte;
    file["added_tokens"] = {{{"id", 1}, {"content", "</s>"}, {"special", true}, {"normalized", false}}};
    file["pre_tokenizer"] = file["decoder"] = nullptr;
  }
};

TEST_F(TokenizerPartsTest, AddedTokensAreNumberedByTheVocabularyOrByTheirOrder) {
  file["added_tokens"][0]["id"] = 300;
  add("<|tool|>");
  add("he");
  add("");  // the package passes over it
  add("<|last|>");
  EXPECT_THAT(encode("<|endoftext|><|tool|>he<|last|>"), ElementsAre(261, 262, 256, 263));
  const std::string fingerprint = make()->fingerprint();
  for (json& token : file["added_tokens"]) token["id"] = 7;
  EXPECT_EQ(make()->fingerprint(), fingerprint) << "the same ids";
  std::swap(file["added_tokens"][1], file["added_tokens"][4]);
  EXPECT_NE(make()->fingerprint(), fingerprint);
}

TEST_F(TokenizerPartsTest, OfEqualAddedTokensTheLastOneCounts) {
  add("[X]");
  add("[X]", {{"rstrip", true}});
  EXPECT_THAT(encode("[X]  he"), ElementsAre(262, 256));
  add("[X]", {{"normalized", true}});
  EXPECT_THAT(refusal([&] { make(); }), HasSubstr("one of them normalized and the other not"));
}

TEST_F(TokenizerPartsTest, TheEndOfADocument) {
  const auto end = [&](std::vector<std::string> names) {
    file = small_tokenizer();
    file["added_tokens"].clear();
    for (const std::string& name : names) add(name, {{"special", name != "</s>"}});
    const auto tokenizer = make();
    return names.at(tokenizer->end_of_document() - 261);
  };
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
                           "<eos>", "[EOS]", "<EOS_TOKEN>", "</s>"})
    EXPECT_EQ(end({name}), name);
  EXPECT_EQ(end({"</s>", "<eos>"}), "<eos>") << "Gemma's </s> is an ordinary token";
}

TEST_F(TokenizerPartsTest, AnUnknownTokenBesideAllBytesNeverApplies) {
  const auto ids = encode("hello \u65e5\u672c");
  file["model"]["unk_token"] = "<unk>";
  file["model"]["byte_fallback"] = file["model"]["fuse_unk"] = true;
  EXPECT_EQ(encode("hello \u65e5\u672c"), ids);
}

TEST_F(TokenizerPartsTest, AnUnknownTokenInsteadOfABytesOwn) {
  file["model"]["vocab"]["<unk>"] = file["model"]["vocab"]["z"];
  file["model"]["vocab"].erase("z");
  file["model"]["unk_token"] = "<unk>";
  EXPECT_THAT(encode("hzzh"), ElementsAre('h', 'z', 'z', 'h'));
  file["model"]["fuse_unk"] = true;
  EXPECT_THAT(encode("hzzh"), ElementsAre('h', 'z', 'h'));
}

TEST_F(TokenizerPartsTest, CharactersFallBackToBytesOrToTheUnknownToken) {
  use_characters();
  EXPECT_THAT(encode("ab\u00e9\u00e9a"), ElementsAre(5, 0, 0, 3));
  file["model"]["fuse_unk"] = true;
  EXPECT_THAT(encode("ab\u00e9\u00e9a"), ElementsAre(5, 0, 3));
  file["model"]["byte_fallback"] = true;
  EXPECT_THAT(encode("ab\u00e9"), ElementsAre(5, 7 + 0xc3, 7 + 0xa9));
  file["model"]["unk_token"] = nullptr;
  EXPECT_THAT(encode("ab\u00e9"), ElementsAre(5, 7 + 0xc3, 7 + 0xa9));
  file["model"]["byte_fallback"] = false;
  EXPECT_THAT(refusal([&] { make(); }), HasSubstr("which would be dropped"));
}

TEST_F(TokenizerPartsTest, WordsInPieces) {
  file["model"]["vocab"]["o</w>"] = 261;
  file["model"]["vocab"]["lo</w>"] = 262;
  file["model"]["vocab"]["<unk>"] = 263;
  file["model"]["merges"].insert(file["model"]["merges"].begin(), "l o</w>");
  file["model"]["end_of_word_suffix"] = "</w>";
  file["model"]["unk_token"] = "<unk>";
  EXPECT_THAT(encode("helo o"),
              ElementsAre(256, 262, ' ', 261));  // the space has no </w>, as one piece has the o
  EXPECT_THAT(encode("h"), ElementsAre(263));
}

TEST_F(TokenizerPartsTest, NormalizersInOrder) {
  use_characters();
  file["normalizer"] = {{"type", "Sequence"},
                        {"normalizers",
                         {{{"type", "Prepend"}, {"prepend", "▁"}},
                          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}},
                          {{"type", "Lowercase"}}}}};
  EXPECT_THAT(encode("A B"), ElementsAre(6, 2, 4));
  EXPECT_THAT(encode("a</s>a"), ElementsAre(6, 1, 6)) << "before every text between added tokens";
  file["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "\\s+"}}}, {"content", "b"}};
  EXPECT_THAT(encode("a \n a"), ElementsAre(5, 3));
  file["normalizer"] = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}};
  EXPECT_THAT(encode(" \u3000a "), ElementsAre(3, 0));
}

TEST_F(TokenizerPartsTest, SpacesAsCharacters) {
  use_characters();
  const auto with = [&](const char* scheme, bool split) {
    file["pre_tokenizer"] = {
        {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", split}};
    return encode("a a</s>a");
  };
  EXPECT_THAT(with("always", true), ElementsAre(6, 6, 1, 6));
  EXPECT_THAT(with("first", false), ElementsAre(6, 6, 1, 3));
  EXPECT_THAT(with("never", true), ElementsAre(3, 6, 1, 3));
  file["pre_tokenizer"]["prepend_scheme"] = "always";
  file["pre_tokenizer"]["add_prefix_space"] = false;
  EXPECT_THAT(refusal([&] { make(); }), HasSubstr("prepend_scheme must be \"never\", too"));
}

TEST_F(TokenizerPartsTest, DecodersGiveTheTextBack) {
  use_characters();
  file["model"]["byte_fallback"] = true;
  file["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}};
  const std::string text = " ab \u65e5\u672c a";
  const auto expect = [&](const json& decoder) {
    file["decoder"] = decoder;
    EXPECT_EQ(make()->decode(encode("ab \u65e5\u672c a")), "ab \u65e5\u672c a");
    EXPECT_EQ(make()->decode_continuation(encode(text)), text) << "in the middle of a text a space stays";
  };
  const json replace = {{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}};
  expect({{"type", "Sequence"},
          {"decoders",
           {replace,
            {{"type", "ByteFallback"}},
            {{"type", "Fuse"}},
            {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}});
  expect({{"type", "Sequence"},
          {"decoders",
           {{{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}},
            {{"type", "ByteFallback"}}}}});
}

TEST_F(TokenizerPartsTest, WhatAddsToATextOrCutsItHasNoEffect) {
  const auto ids = encode("hello hello");
  const std::string fingerprint = make()->fingerprint();
  file["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {{{"SpecialToken", {{"id", "<|endoftext|>"}, {"type_id", 0}}}}}},
                            {"pair", json::array()},
                            {"special_tokens", json::object()}};
  file["truncation"] = {
      {"max_length", 1}, {"strategy", "LongestFirst"}, {"stride", 0}, {"direction", "Right"}};
  file["padding"] = {{"strategy", {{"Fixed", 9}}}, {"pad_id", 0}, {"pad_token", "!"}};
  EXPECT_EQ(encode("hello hello"), ids);
  EXPECT_EQ(make()->fingerprint(), fingerprint);
}

TEST_F(TokenizerPartsTest, ByteLevelNeedNotComeLast) {
  file["pre_tokenizer"] = {{"type", "Sequence"},
                           {"pretokenizers",
                            {{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}},
                             {{"type", "Split"},
                              {"pattern", {{"String", "l"}}},
                              {"behavior", "MergedWithNext"},
                              {"invert", false}}}}};
  EXPECT_THAT(encode("helo\u00e9"), ElementsAre(256, 258, 0xc3, 0xa9));
  file["pre_tokenizer"]["pretokenizers"].push_back({{"type", "ByteLevel"}});
  EXPECT_THAT(refusal([&] { make(); }), HasSubstr("pretokenizers[2] is a second ByteLevel"));
}

TEST_F(TokenizerPartsTest, WhitespaceAndItsLike) {
  use_characters();
  file["model"]["unk_token"] = "<unk>";
  const auto with = [&](json pre_tokenizer) {
    file["pre_tokenizer"] = std::move(pre_tokenizer);
    return encode("ab a.b");
  };
  EXPECT_THAT(with({{"type", "Whitespace"}}), ElementsAre(5, 3, 0, 4));
  EXPECT_THAT(with({{"type", "WhitespaceSplit"}}), ElementsAre(5, 3, 0, 4));
  EXPECT_THAT(with({{"type", "BertPreTokenizer"}}), ElementsAre(5, 3, 0, 4));
  EXPECT_THAT(with({{"type", "CharDelimiterSplit"}, {"delimiter", "a"}}), ElementsAre(4, 0, 0, 4));
  EXPECT_THAT(with({{"type", "Punctuation"}, {"behavior", "Removed"}}), ElementsAre(5, 0, 3, 4));
  EXPECT_THAT(refusal([&] {
                with({{"type", "CharDelimiterSplit"}, {"delimiter", "ab"}});
              }),
              HasSubstr("delimiter is \"ab\", where one character is expected"));
}

}  // namespace
}  // namespace sisa::data
