#include "data/prepare/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "data/tokenizer/make_tokenizer.h"
#include "data/tokenizer/utf8.h"
#include "data/tokens/inspect.h"
#include "tests/data/data_folder.h"
#include "tests/data/prepare_folder.h"

namespace sisa::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr size_t none = std::string_view::npos;

TEST_F(PrepareTest, OneTextHoldsOutItsEndCutBetweenCharacters) {
  std::string text = "x";
  for (int i = 0; i < 500; ++i) text += i % 2 ? "é" : "😀";
  for (const double share : {0.01, 0.05, 0.1234, 0.5}) {
    const std::string output = std::to_string(share);
    prepare(options({write("a.txt", text)}, share, output));
    const auto train = texts(Split::train, output), held_out = texts(Split::validation, output);
    ASSERT_EQ(train.size(), 1u);
    ASSERT_EQ(held_out.size(), 1u);
    EXPECT_EQ(train[0] + held_out[0], text);
    EXPECT_EQ(find_invalid_utf8(train[0]), none);
    EXPECT_EQ(find_invalid_utf8(held_out[0]), none);
    EXPECT_NEAR(static_cast<double>(held_out[0].size()), share * static_cast<double>(text.size()), 4);
  }
}

TEST_F(PrepareTest, OfFewDocumentsOneIsDividedWhereTheShareIsReached) {
  prepare(options(
      {write("a.jsonl", line("aaaaaaaaaa") + line("bbbbbbbbbb")), write("b.jsonl", line("cccccccccc"))},
      0.5));
  std::vector<std::string> parts = texts(Split::train);
  const auto held_out = texts(Split::validation);
  EXPECT_EQ(parts.size(), 2u);
  EXPECT_EQ(held_out.size(), 2u);
  parts.insert(parts.end(), held_out.begin(), held_out.end());
  std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
  EXPECT_EQ(parts[0].size(), 5u);
  EXPECT_EQ(parts[0], parts[1]);
  EXPECT_NE(parts[2], parts[3]);
}

TEST_F(PrepareTest, ManyDocumentsAreSplitByTheirHash) {
  prepare(options({write("a.jsonl", documents(1000))}, 0.2));
  const auto train = texts(Split::train), held_out = texts(Split::validation);
  EXPECT_EQ(train.size() + held_out.size(), 1000u);
  EXPECT_NEAR(static_cast<double>(held_out.size()), 200, 30);
  std::set<std::string> all(train.begin(), train.end());
  all.insert(held_out.begin(), held_out.end());
  EXPECT_EQ(all.size(), 1000u);  // the splits share nothing, nothing is lost

  // With a smaller share no document changes from training to validation.
  prepare(options({folder / "a.jsonl"}, 0.1, "less"));
  const auto trained_less = texts(Split::train, "less");
  const std::set<std::string> larger(trained_less.begin(), trained_less.end());
  for (const std::string& text : train) EXPECT_TRUE(larger.contains(text));
}

// Every character of every document is in one of the splits, whatever the documents' number and lengths.
TEST_F(PrepareTest, NothingIsLost) {
  for (const int count : {1, 2, 7, 199, 200, 500}) {
    std::string lines;
    int64_t bytes = 0;
    for (int i = 0; i < count; ++i) {
      std::string text = std::to_string(i) + " ";
      for (int j = 0; j < 100 + i * 7919 % 900; ++j) text += j % 3 == 0 ? "x" : "😀";
      bytes += static_cast<int64_t>(text.size());
      lines += line(text);
    }
    const std::string output = std::to_string(count);
    const Manifest manifest = prepare(options({write("a.jsonl", lines)}, 0.01, output));
    EXPECT_EQ(manifest.cut_tokens, 0);
    int64_t held_out = 0, trained = 0;
    for (const std::string& text : texts(Split::validation, output)) {
      held_out += static_cast<int64_t>(text.size());
      EXPECT_EQ(find_invalid_utf8(text), none);                // cuts are between characters
      EXPECT_NE(lines.find(text + "\"}"), std::string::npos);  // a document, or the end of one
    }
    for (const std::string& text : texts(Split::train, output)) {
      trained += static_cast<int64_t>(text.size());
      EXPECT_EQ(find_invalid_utf8(text), none);
    }
    EXPECT_EQ(trained + held_out, bytes) << count;
    EXPECT_NEAR(static_cast<double>(held_out), static_cast<double>(bytes) / 100,
                static_cast<double>(bytes) / 900 + 4);
  }
}

// What is held out may also be named: all of it is, and copies of it are not trained on.
TEST_F(PrepareTest, TextsOfTheUsersOwnAreHeldOut) {
  fs::create_directories(folder / "own" / "deep");
  write("own/a.jsonl", documents(20) + documents(5));
  write("own/deep/b.txt", "a text");
  write("own/.hidden", "no text");
  write("c.jsonl", documents(100, 10) + line("a text") + line("more"));
  for (const bool deduplicate : {false, true}) {
    PrepareOptions o = options({folder / "c.jsonl"}, 0.3, deduplicate ? "once" : "all");
    o.held_out = texts_in(folder / "own");
    o.deduplicate = deduplicate;
    const Manifest manifest = prepare(o);
    const auto train = texts(Split::train, o.output), held_out = texts(Split::validation, o.output);
    EXPECT_EQ(held_out.size(), deduplicate ? 21u : 26u);
    EXPECT_EQ(held_out.back(), "a text");
    EXPECT_EQ(train.size(), 91u);  // 20 to 109, and "more"
    EXPECT_EQ(manifest.held_out_copies, 11);
    EXPECT_EQ(manifest.validation, 0);
    const Manifest again = read_manifest(o.output);
    EXPECT_EQ(again.held_out_copies, 11);
    ASSERT_EQ(again.sources.size(), 3u);
    EXPECT_TRUE(again.sources[0].held_out);
    EXPECT_FALSE(again.sources[2].held_out);
  }
  fs::create_directory(folder / "void");
  EXPECT_THAT(refusal([&] { texts_in(folder / "void"); }), HasSubstr("holds no text"));
  EXPECT_THAT(refusal([&] { texts_in(folder / "all"); }), HasSubstr("holds tokens and no text"));
  PrepareOptions o = options({folder / "c.jsonl"}, 0, "none");
  o.held_out = {write("empty.txt", "")};
  EXPECT_THAT(refuses(o), HasSubstr("no text to hold out"));
}

TEST_F(PrepareTest, EqualDocumentsNeverLieInBothSplits) {
  prepare(options({write("a.jsonl", documents(300) + documents(300))}, 0.3));
  const auto train = texts(Split::train), held_out = texts(Split::validation);
  EXPECT_EQ(train.size() + held_out.size(), 600u);
  const std::set<std::string> trained(train.begin(), train.end());
  for (const std::string& text : held_out) EXPECT_FALSE(trained.contains(text));
}

TEST_F(PrepareTest, NothingIsHeldOutOnRequest) {
  for (const int count : {3, 300}) {
    const std::string output = std::to_string(count);
    prepare(options({write("a.jsonl", documents(count))}, 0, output));
    EXPECT_EQ(texts(Split::train, output).size(), static_cast<size_t>(count));
    EXPECT_EQ(TokenDataset::open(folder / output, Split::validation).tokens(), 0);
  }
}

TEST_F(PrepareTest, EqualInputGivesEqualFiles) {
  write("a.jsonl", documents(500));
  for (const std::string output : {"one", "two"}) prepare(options({folder / "a.jsonl"}, 0.1, output));
  EXPECT_EQ(files("one"), files("two"));
  EXPECT_EQ(files("one").size(), 3u);
  // The name of the text is for people; the tokens do not depend on it.
  fs::rename(folder / "a.jsonl", folder / "b.jsonl");
  prepare(options({folder / "b.jsonl"}, 0.1, "three"));
  EXPECT_EQ(files("one").at("train-00000.bin"), files("three").at("train-00000.bin"));
  EXPECT_EQ(TokenDataset::open(folder / "one", Split::train).fingerprint(),
            TokenDataset::open(folder / "three", Split::train).fingerprint());
  EXPECT_NE(TokenDataset::open(folder / "one", Split::train).fingerprint(),
            TokenDataset::open(folder / "one", Split::validation).fingerprint());
}

TEST_F(PrepareTest, SeveralFilesReadAsOneSequence) {
  PrepareOptions o = options({write("a.jsonl", documents(300))}, 0.3, "one");
  prepare(o);
  o.output = folder / "several";
  o.shard_tokens = 5000;
  const Manifest manifest = prepare(o);
  EXPECT_GT(manifest.train.size(), 5u);
  EXPECT_GT(manifest.validation_shards.size(), 1u);
  EXPECT_EQ(manifest.train[1].file, "train-00001.bin");
  for (const Split split : {Split::train, Split::validation}) {
    const auto whole = ids(split, "one");
    EXPECT_EQ(ids(split, "several"), whole);
    const auto dataset = TokenDataset::open(o.output, split);
    dataset.verify();
    for (int64_t first = 0; first + 700 <= dataset.tokens(); first += 311) {
      std::vector<int64_t> part(700);
      dataset.read(first, part);
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + first));
    }
    dataset.read(dataset.tokens(), {});
  }
}

TEST_F(PrepareTest, TheManifestCounts) {
  const PrepareOptions o = options({write("a.jsonl", line("zwölf") + "bad\n" + line("x"))}, 0.2);
  EXPECT_THAT(refuses(o), HasSubstr("line 2"));
  PrepareOptions skip = o;
  skip.on_error = OnError::skip;
  prepare(skip);
  const Manifest manifest = read_manifest(folder / "data");
  EXPECT_EQ(manifest.tokenizer, "bytes");
  EXPECT_EQ(manifest.vocab_size, 257);
  EXPECT_EQ(manifest.end_of_document, 256);
  EXPECT_EQ(manifest.validation, 0.2);
  EXPECT_EQ(manifest.skipped_documents, 1);
  EXPECT_THAT(manifest.first_skipped, HasSubstr("a.jsonl, line 2, column 1: 'b' stands where an object"));
  EXPECT_EQ(manifest.duplicate_documents, std::nullopt);
  ASSERT_EQ(manifest.sources.size(), 1u);
  EXPECT_EQ(manifest.sources[0].file, "a.jsonl");
  EXPECT_EQ(manifest.sources[0].documents, 2);
  EXPECT_EQ(manifest.sources[0].text_bytes, 7);
  const auto train = TokenDataset::open(folder / "data", Split::train);
  const auto held_out = TokenDataset::open(folder / "data", Split::validation);
  EXPECT_EQ(train.documents() + held_out.documents(), 3);  // "zwö", "lf" and "x"
  EXPECT_EQ(train.text_bytes() + held_out.text_bytes(), 7);
  EXPECT_EQ(train.tokens() + held_out.tokens(), 10);
}

TEST_F(PrepareTest, ManifestsOfFormat1AreRead) {
  prepare(options({write("a.jsonl", documents(300))}));
  std::string manifest = common::read_file(folder / "data" / "manifest.json");
  const auto replace = [&](const std::string& from, const std::string& to, const std::string& with) {
    const size_t begin = manifest.find(from), end = manifest.find(to, begin);
    ASSERT_NE(end, std::string::npos);
    manifest.replace(begin, end - begin, with);
  };
  replace("\"format\"", ",", "\"format\": 1");
  replace("\"sources\"", "\"splits\"", "\"cut_tokens\": 7, \"sources\": [\"a.jsonl\"], ");
  write("data/manifest.json", manifest);
  const Manifest old = read_manifest(folder / "data");
  ASSERT_EQ(old.sources.size(), 1u);
  EXPECT_EQ(old.sources[0].file, "a.jsonl");
  EXPECT_EQ(old.cut_tokens, 7);
  EXPECT_GT(TokenDataset::open(folder / "data", Split::train).tokens(), 0);
}

TEST_F(PrepareTest, TheTokenizersFileIsCopied) {
  PrepareOptions o = options({write("a.txt", "some text that is long enough")});
  o.tokenizer_name = write("any-name.json", "{\"a\": 1}").string();
  prepare(o);
  EXPECT_EQ(common::read_file(folder / "data" / "tokenizer.json"), "{\"a\": 1}");
  o.tokenizer_name = (folder / "data").string();  // a folder that holds one
  o.output = folder / "other";
  prepare(o);
  EXPECT_EQ(common::read_file(folder / "other" / "tokenizer.json"), "{\"a\": 1}");
}

TEST_F(PrepareTest, RefusesTextThatIsTooShort) {
  EXPECT_THAT(refuses(options({write("void.txt", "")})), AllOf(HasSubstr("no text"), HasSubstr("void.txt")));
  EXPECT_THAT(refuses(options({folder / "void.txt", write("b.jsonl", "\n")})),
              HasSubstr("void.txt and 1 more"));
  EXPECT_THAT(refuses(options({write("a.txt", "x")}, 0.5)),
              AllOf(HasSubstr("to train on"), HasSubstr("1 bytes"), HasSubstr("--validation")));
  EXPECT_THAT(refuses(options({folder / "a.txt"}, 1e-17)), HasSubstr("to hold out"));
  PrepareOptions skip = options({write("b.jsonl", "bad\nworse\n")});
  skip.on_error = OnError::skip;
  EXPECT_THAT(refuses(skip), AllOf(HasSubstr("2 documents were skipped"), HasSubstr("b.jsonl, line 1")));
  EXPECT_THAT(refuses(options({})), HasSubstr("no text in no file"));
  EXPECT_FALSE(is_dataset(folder / "data"));
}

TEST_F(PrepareTest, RefusesOptionsOutOfRange) {
  const fs::path text = write("a.txt", "some text");
  for (const double share : {-0.1, 0.6, std::nan("")})
    EXPECT_THAT(refuses(options({text}, share)), AllOf(HasSubstr("share"), HasSubstr("0 to 0.5")));
  PrepareOptions o = options({text});
  o.shard_tokens = 0;
  EXPECT_THAT(refuses(o), HasSubstr("at least 1 token"));
  o = options({text});
  o.threads = -1;
  EXPECT_THAT(refuses(o), HasSubstr("at least 1 thread"));
  EXPECT_THAT(refuses(options({text, folder / "absent.txt"})),
              AllOf(HasSubstr("absent.txt"), HasSubstr("no such file")));
  EXPECT_FALSE(fs::exists(folder / "data"));  // all of that is known before anything is written
}

TEST_F(PrepareTest, RefusesAnOutputThatItCannotUse) {
  const fs::path text = write("a.txt", "some text that is long enough");
  EXPECT_THAT(refuses(options({text}, 0.1, "a.txt")),
              AllOf(HasSubstr("a.txt"), HasSubstr("Choose a folder")));
  EXPECT_THAT(refuses(options({text}, 0.1, "/proc")), AllOf(HasSubstr("/proc"), HasSubstr("Choose")));
  prepare(options({text}));
  const auto before = files("data");
  EXPECT_THAT(refuses(options({write("b.txt", "another text")})), HasSubstr("already holds a dataset"));
  EXPECT_EQ(files("data"), before);
}

class DatasetTest : public DataFolder {
 protected:
  std::string opening() const {
    return refusal([&] { TokenDataset::open(folder / "data", Split::train); });
  }
  // Opens the dataset with `old` replaced by `new_text` in its manifest.
  std::string with_manifest(const std::string& old, const std::string& new_text) {
    write_dataset(folder / "data", 300, {count_up(0, 100)});
    std::string manifest = common::read_file(folder / "data" / "manifest.json");
    manifest.replace(manifest.find(old), old.size(), new_text);
    write("data/manifest.json", manifest);
    return opening();
  }
};

TEST_F(DatasetTest, OpeningNamesWhatIsWrong) {
  EXPECT_THAT(opening(), AllOf(HasSubstr("data"), HasSubstr("no such folder")));
  fs::create_directory(folder / "data");
  EXPECT_THAT(opening(), AllOf(HasSubstr("no manifest.json"), HasSubstr("sisa data prepare")));
  write("data/manifest.json", "{");
  EXPECT_THAT(opening(), AllOf(HasSubstr("manifest.json is no JSON"), HasSubstr("Prepare the data again")));
  write("data/manifest.json", "[]");
  EXPECT_THAT(opening(), HasSubstr("manifest.json: is [], where an object is expected. Prepare"));
  write("data/manifest.json", std::string(1'000'000, '['));
  EXPECT_THAT(opening(), HasSubstr("manifest.json is nested more than 64 levels deep"));
  EXPECT_THAT(with_manifest("\"format\": 2", "\"format\": 3"),
              AllOf(HasSubstr("format 3"), HasSubstr("reads formats 1 to 2")));
  EXPECT_THAT(with_manifest("vocab_size", "size"), HasSubstr("vocab_size"));
  EXPECT_THAT(with_manifest("\"checksum\": \"", "\"checksum\": \"xyz"),
              HasSubstr("splits.train[0].checksum is \"xyz"));
  EXPECT_THAT(with_manifest("\"vocab_size\": 300", "\"vocab_size\": -1"), HasSubstr("vocab_size is -1"));
  EXPECT_THAT(with_manifest("\"file\": \"train0.bin\"", "\"file\": \"../train0.bin\""),
              HasSubstr("splits.train[0].file is \"../train0.bin\""));
  EXPECT_THAT(with_manifest("\"tokens\": 100", "\"tokens\": -100"),
              HasSubstr("splits.train[0].tokens is -100"));
  EXPECT_THAT(with_manifest("\"tokens\": 100", "\"tokens\": 99"),
              AllOf(HasSubstr("train0.bin"), HasSubstr("is not the file")));
  EXPECT_THAT(with_manifest("\"documents\": 1", "\"documents\": 2"), HasSubstr("is not the file"));
  EXPECT_THAT(with_manifest("train0.bin", "train7.bin"),
              AllOf(HasSubstr("train7.bin"), HasSubstr("is missing")));
}

TEST_F(DatasetTest, AFileOfAnotherDatasetIsFound) {
  write_dataset(folder / "data", 300, {count_up(0, 100)});
  write_dataset(folder / "other", 300, {count_up(1, 100)});
  fs::copy_file(folder / "other" / "train0.bin", folder / "data" / "train0.bin",
                fs::copy_options::overwrite_existing);
  EXPECT_THAT(opening(), AllOf(HasSubstr("train0.bin"), HasSubstr("is not the file")));
}

TEST_F(DatasetTest, DamageShowsWhenTheTokensAreRead) {
  write_dataset(folder / "data", 300, {count_up(0, 100), count_up(0, 100)});
  std::string bytes = common::read_file(folder / "data" / "train1.bin");
  bytes[64 + 2 * 50 + 1] = '\x7F';
  write("data/train1.bin", bytes);
  const auto dataset = TokenDataset::open(folder / "data", Split::train);
  std::vector<int64_t> ids(150);
  dataset.read(0, ids);
  EXPECT_THAT(refusal([&] { dataset.read(1, ids); }),
              AllOf(HasSubstr("train1.bin"), HasSubstr("offset 164")));
  EXPECT_THAT(refusal([&] { dataset.verify(); }), HasSubstr("train1.bin"));
}

TEST_F(DatasetTest, PreviewShowsTextOnOneLine) {
  const auto tokenizer = make_tokenizer("bytes");
  data::prepare({.inputs = {write("a.jsonl", "{\"text\": \"one\\n\\\"zwölf\\\"\"}\n{\"text\": \"drei\"}")},
                 .output = folder / "data",
                 .validation = 0},
                *tokenizer);
  const auto dataset = TokenDataset::open(folder / "data", Split::train);
  EXPECT_EQ(preview(dataset, *tokenizer, 0, 1000), R"("one\n\"zwölf\"" | "drei")");
  EXPECT_EQ(preview(dataset, *tokenizer, 0, 8), R"("one\n\"zw�")");
  EXPECT_EQ(preview(dataset, *tokenizer, 4, 3), R"("\"zw")");
  EXPECT_EQ(preview(dataset, *tokenizer, dataset.tokens(), 5), "");
}

}  // namespace
}  // namespace sisa::data
