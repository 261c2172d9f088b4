// The tokenizer that a file describes. tests/program/tokenizer_test.py compares it with the Python package
// whose files it reads.
#include "data/tokenizer/bpe/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "data/tokenizer/make_tokenizer.h"
#include "tests/data/data_folder.h"
#include "tests/data/small_tokenizer.h"

namespace sisa::data {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class BpeTokenizerTest : public DataFolder {
 protected:
  std::unique_ptr<Tokenizer> make(const json& file) const {
    return make_tokenizer(write("tokenizer.json", file.dump()).string());
  }
  static std::vector<uint32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
    std::vector<uint32_t> ids;
    tokenizer.encode(text, ids);
    return ids;
  }
  // What is said when the small tokenizer is refused after `change`.
  std::string refused(const std::function<void(json&)>& change) const {
    json file = small_tokenizer();
    change(file);
    return refusal([&] { make(file); });
  }
};

TEST_F(BpeTokenizerTest, MergesWhatWasLearnedFirstFirst) {
  const auto t = make(small_tokenizer());
  EXPECT_THAT(encode(*t, "hello"), ElementsAre(259));
  EXPECT_THAT(encode(*t, "hello hello"), ElementsAre(259, 260));
  EXPECT_THAT(encode(*t, "helo"), ElementsAre(257, 'o'));  // he+l comes before l+o
  EXPECT_THAT(encode(*t, "lo, he"), ElementsAre(258, ',', ' ', 256));
  EXPECT_THAT(encode(*t, ""), ElementsAre());
  EXPECT_EQ(t->vocab_size(), 262);
  EXPECT_EQ(t->end_of_document(), 261u);
}

TEST_F(BpeTokenizerTest, DecodesWhatItEncodes) {
  const auto t = make(small_tokenizer());
  for (const std::string text :
       {"hello hello", "a\tb\r\n  c", "π = 3.14159 …", "日本語", "\U0001F600!", "'s don't"})
    EXPECT_EQ(t->decode(encode(*t, text)), text);
  EXPECT_THAT(encode(*t, "lo<|endoftext|>he"), ElementsAre(258, 261, 256));
  EXPECT_EQ(t->decode(std::vector<uint32_t>{258, 261, 256}), "lohe");
  EXPECT_THAT(refusal([&] { t->decode(std::vector<uint32_t>{262}); }),
              AllOf(HasSubstr("262"), HasSubstr("0 to 261")));
}

TEST_F(BpeTokenizerTest, WhatIsNoUtf8IsReplacedAsPythonReplacesIt) {
  const auto t = make(small_tokenizer());
  const std::string r = "\uFFFD";
  for (const auto& [bytes, text] :
       std::vector<std::pair<std::string, std::string>>{{"a\xff", "a" + r},
                                                        {"\xe2\x82z", r + "z"},  // a character cut off is one
                                                        {"\xf0\x9f\x98", r},
                                                        {"\xc0\xaf", r + r},          // overlong
                                                        {"\xed\xa0\x80", r + r + r},  // a surrogate
                                                        {"\xf4\x90\x80\x80", r + r + r + r},
                                                        {"\xe2\xe2\x82\xac", r + "€"}})
    EXPECT_EQ(t->decode(encode(*t, bytes)), text);
}

TEST_F(BpeTokenizerTest, LongPiecesTakeLittleLongerThanTheyAre) {
  const auto t = make(small_tokenizer());
  const auto seconds = [&](const std::string& text) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(t->decode(encode(*t, text)), text);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  for (const std::string unit : {"a", "hello", "h", "\u0301", " ", "'", "1", "\n"}) {
    std::string text;
    while (text.size() < 4'000'000) text += unit;
    EXPECT_LT(seconds(text), 20) << "one piece of 4 MB made of '" << unit << "'; quadratic would take hours";
  }
  std::string mixed = "x";
  for (int i = 0; i < 300; ++i) mixed += "hellohelo";
  std::vector<uint32_t> expected = {'x'};
  for (int i = 0; i < 300; ++i) expected.insert(expected.end(), {259, 257, 'o'});
  EXPECT_EQ(encode(*t, mixed), expected);  // a long piece merges as the short ones do
}

TEST_F(BpeTokenizerTest, ManyThreadsEncodeAtOnce) {
  const auto t = make(small_tokenizer());
  std::vector<std::string> texts;
  for (int i = 0; i < 2000; ++i) texts.push_back(fmt::format("hello {} lo helo{}", i * 7919 % 1000, i));
  std::vector<std::vector<uint32_t>> expected;
  for (const std::string& text : texts) expected.push_back(encode(*t, text));
  std::vector<std::thread> threads;
  std::vector<int> wrong(8);
  for (size_t k = 0; k < wrong.size(); ++k)
    threads.emplace_back([&, k] {
      for (size_t i = 0; i < texts.size(); ++i) wrong[k] += encode(*t, texts[i]) != expected[i];
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, testing::Each(0));
}

TEST_F(BpeTokenizerTest, MergesMayBePairsAndMayBeIgnored) {
  json file = small_tokenizer();
  const auto plain = make(file);
  for (json& merge : file["model"]["merges"]) {
    const std::string text = merge;
    merge = {text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)};
  }
  EXPECT_EQ(encode(*make(file), "hello helo"), encode(*plain, "hello helo"));
  file["model"]["vocab"]["helo"] = 261;
  EXPECT_THAT(encode(*make(file), "helo"), ElementsAre(257, 'o'));
  file["model"]["ignore_merges"] = true;
  EXPECT_THAT(encode(*make(file), "helo<|endoftext|>"), ElementsAre(261, 262));
}

TEST_F(BpeTokenizerTest, AddedTokens) {
  json file = small_tokenizer();
  const auto add = [&](int id, const char* content, const json& options) {
    json token = {{"id", id}, {"content", content}, {"normalized", false}};
    token.update(options);
    file["added_tokens"].push_back(token);
  };
  add(262, "[A]", json::object());
  add(263, "[A][B]", json::object());  // the longest counts
  add(264, "[L]", {{"lstrip", true}});
  add(265, "[R]", {{"rstrip", true}});
  add(266, "cat", {{"single_word", true}});
  const auto t = make(file);
  EXPECT_THAT(encode(*t, "x[A][B][A]"), ElementsAre('x', 263, 262));
  EXPECT_THAT(encode(*t, "x \n[L] y"), ElementsAre('x', 264, ' ', 'y'));
  EXPECT_THAT(encode(*t, "x [R] \t[R]y"), ElementsAre('x', ' ', 265, 265, 'y'));
  EXPECT_THAT(encode(*t, "cat,cats"), ElementsAre(266, ',', 'c', 'a', 't', 's'));
  EXPECT_THAT(encode(*t, "[A"), ElementsAre('[', 'A'));
  EXPECT_EQ(t->vocab_size(), 267);
}

TEST_F(BpeTokenizerTest, TokensAreFoundBeforeOrAfterNormalising) {
  json file = small_tokenizer();
  file["normalizer"] = {{"type", "NFC"}};
  file["added_tokens"].push_back({{"id", 262}, {"content", "e\u0301"}, {"normalized", true}});
  file["added_tokens"].push_back({{"id", 263}, {"content", "o\u0301"}, {"normalized", false}});
  const auto t = make(file);
  EXPECT_THAT(encode(*t, "\u00e9e\u0301"), ElementsAre(262, 262));
  EXPECT_THAT(encode(*t, "o\u0301"), ElementsAre(263));
  EXPECT_THAT(encode(*t, "\u00f3"), ElementsAre(0xc3, 0xb3));
  EXPECT_EQ(t->decode(encode(*t, "a\u0308")), "\u00e4");
}

TEST_F(BpeTokenizerTest, APrefixSpace) {
  json file = small_tokenizer();
  file["pre_tokenizer"]["add_prefix_space"] = true;
  const auto t = make(file);
  EXPECT_THAT(encode(*t, "hello"), ElementsAre(260));
  EXPECT_THAT(encode(*t, " hello"), ElementsAre(260));
  EXPECT_THAT(encode(*t, "hello<|endoftext|>hello"), ElementsAre(260, 261, 260));
}

TEST_F(BpeTokenizerTest, TheFingerprintIsThatOfWhatDecidesAboutIds) {
  json file = small_tokenizer();
  const std::string fingerprint = make(file)->fingerprint();
  file["truncation"] = {{"max_length", 7}};
  EXPECT_EQ(make(file)->fingerprint(), fingerprint);
  std::swap(file["model"]["merges"][0], file["model"]["merges"][2]);
  EXPECT_NE(make(file)->fingerprint(), fingerprint);
}

TEST_F(BpeTokenizerTest, AFolderWithAFileWillDo) {
  write("tokenizer.json", small_tokenizer().dump());
  EXPECT_EQ(make_tokenizer(folder.string())->vocab_size(), 262);
}

TEST_F(BpeTokenizerTest, RefusesByName) {
  const auto file = HasSubstr((folder / "tokenizer.json").string());
  const auto expect = [&](const std::function<void(json&)>& change, const std::string& what) {
    EXPECT_THAT(refused(change), AllOf(file, HasSubstr(what)));
  };
  expect([](json& f) { f["model"]["type"] = "WordPiece"; },
         "model.type is \"WordPiece\"; only BPE can be used");
  expect([](json& f) { f["model"]["dropout"] = 0.1; },
         "model.dropout is 0.1, which draws other ids for a text each time");
  expect([](json& f) { f["model"]["seed"] = 1; }, "model has the key 'seed', which is not known");
  expect([](json& f) { f["template"] = 1; }, "has the key 'template', which is not known");
  expect([](json& f) { f["model"]["ignore_merges"] = 3; }, "where true or false is expected");
  expect([](json& f) { f["model"]["vocab"] = 5; }, "model.vocab is no object");
  expect([](json& f) { f["model"]["vocab"].erase("a"); },
         "model.vocab lacks a for the byte 0x61, and there is no model.unk_token");
  expect([](json& f) { f["model"]["vocab"]["zz"] = 7; }, "two tokens of the number 7");
  expect([](json& f) { f["model"]["vocab"]["zz"] = -1; }, "model.vocab.zz is -1");
  expect([](json& f) { f["model"]["vocab"]["zz"] = 4e9; }, "an integer from 0 to 16,777,215 is expected");
  expect([](json& f) { f["model"]["vocab"][""] = 300; }, "a token without text");
  expect([](json& f) { f["model"]["merges"][1] = "x y"; },
         "model.merges[1] speaks of 'xy', which is not in the vocabulary");
  expect([](json& f) { f["model"]["merges"][1] = "xyz"; }, "model.merges[1] is 'xyz', not two tokens");
  expect([](json& f) { f["model"]["merges"][1] = {"h", "e", "l"}; }, "model.merges[1] has 3 parts, not 2");
  expect([](json& f) { f["model"]["merges"] = "none"; }, "where a list is expected");
  expect(
      [](json& f) {
        f["model"]["vocab"].erase("a");
        f["model"]["unk_token"] = "<unk>";
      },
      "model.unk_token is \"<unk>\", which is not in model.vocab, where it is needed");
  expect(
      [](json& f) {
        f["normalizer"] = {{"type", "Precompiled"}};
      },
      "normalizer.type is Precompiled, which cannot be used");
  expect(
      [](json& f) {
        f["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "StripAccents"}}}}};
      },
      "normalizer.normalizers[0].type is StripAccents");
  expect([](json& f) { f["pre_tokenizer"] = nullptr; },
         "model has no token for characters that are not in its vocabulary");
  expect(
      [](json& f) {
        f["pre_tokenizer"] = {{"type", "UnicodeScripts"}};
      },
      "pre_tokenizer.type is UnicodeScripts, which cannot be used");
  const auto split = [](const char* pattern, const char* behavior) {
    return json{{"type", "Sequence"},
                {"pretokenizers",
                 {{{"type", "Split"},
                   {"pattern", {{"Regex", pattern}}},
                   {"behavior", behavior},
                   {"invert", false}}}}};
  };
  expect([&](json& f) { f["pre_tokenizer"] = split("(a", "Isolated"); },
         "pattern.Regex is the regular expression\n  (a\nwhich has a ( without its ) at byte 0");
  expect([&](json& f) { f["pre_tokenizer"] = split("x", "removed"); },
         "behavior is \"removed\", where Removed, Isolated");
  expect(
      [&](json& f) {
        f["pre_tokenizer"] = split(
            R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", "Isolated");
      },
      "model has no token for characters that are not in its vocabulary");
  expect(
      [](json& f) {
        f["decoder"] = {{"type", "WordPiece"}};
      },
      "decoder.type is WordPiece, which cannot be used");
  expect([](json& f) { f["added_tokens"][0]["content"] = ""; }, "has no token for the end of a document");
  expect(
      [](json& f) { f["model"]["vocab"]["zz"] = 262; },
      "added_tokens[0] is not in model.vocab and so has the next number after its 262 tokens, 262, which a "
      "token of the vocabulary has");
  expect([](json& f) { f["added_tokens"][0]["content"] = "<other>"; },
         "has no token for the end of a document");
  EXPECT_THAT(refusal([&] { make_tokenizer(write("tokenizer.json", "{\"model\":").string()); }),
              AllOf(file, HasSubstr("is no JSON")));
  EXPECT_THAT(refusal([&] { make_tokenizer(write("tokenizer.json", "[]").string()); }),
              AllOf(file, HasSubstr("an object is expected")));
  EXPECT_THAT(refusal([&] {
                make_tokenizer(write("tokenizer.json", "{\"model\":" + std::string(1'000'000, '[')).string());
              }),
              AllOf(file, HasSubstr("nested more than 64 levels deep")));
  EXPECT_THAT(refusal([] { make_tokenizer("/dev/zero"); }), HasSubstr("/dev/zero is a device"));
  EXPECT_THAT(refusal([] { make_tokenizer("byte"); }), AllOf(HasSubstr("'byte'"), HasSubstr("'bytes'")));
}

}  // namespace
}  // namespace sisa::data
