#include "data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "data/inspect.h"
#include "data/utf8.h"
#include "tests/data/data_folder.h"

namespace sisa::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr size_t none = std::string_view::npos;

class PrepareTest : public DataFolder {
 protected:
  PrepareOptions options(const std::vector<fs::path>& inputs, double validation = 0.1,
                         const std::string& output = "data") const {
    return {.inputs = inputs, .output = folder / output, .validation = validation};
  }
  Manifest prepare(const PrepareOptions& o) const { return data::prepare(o, *tokenizer); }
  std::string refuses(const PrepareOptions& o) const {
    return refusal([&] { prepare(o); });
  }

  static std::string line(const std::string& text) { return "{\"text\": \"" + text + "\"}\n"; }
  // `count` different documents, a JSON line each; each 100 to 199 bytes.
  static std::string documents(int count, int first = 0) {
    std::string lines;
    for (int i = first; i < first + count; ++i) {
      std::string text = "document " + std::to_string(i) + " ";
      text.resize(100 + static_cast<size_t>(i) * 37 % 100, static_cast<char>('a' + i % 26));
      lines += line(text);
    }
    return lines;
  }
  std::vector<int64_t> ids(Split split, const std::string& output = "data") const {
    const auto dataset = TokenDataset::open(folder / output, split);
    std::vector<int64_t> result(static_cast<size_t>(dataset.tokens()));
    dataset.read(0, result);
    return result;
  }
  // The documents of a split, each of which ends with the end-of-document token.
  std::vector<std::string> texts(Split split, const std::string& output = "data") const {
    std::vector<std::string> result;
    std::string text;
    for (const int64_t id : ids(split, output)) {
      if (id != 256) {
        text += static_cast<char>(id);
      } else {
        result.push_back(text);
        text.clear();
      }
    }
    EXPECT_EQ(text, "");
    return result;
  }
  // Name -> content of every file of a folder.
  std::map<std::string, std::string> files(const std::string& output) const {
    std::map<std::string, std::string> result;
    for (const auto& entry : fs::directory_iterator(folder / output))
      result[entry.path().filename().string()] = common::read_file(entry.path());
    return result;
  }

  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer("bytes");
};

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

TEST_F(PrepareTest, FewDocumentsHoldOutTheLastShareOfAllTogether) {
  prepare(options(
      {write("a.jsonl", line("aaaaaaaaaa") + line("bbbbbbbbbb")), write("b.jsonl", line("cccccccccc"))},
      0.5));
  EXPECT_THAT(texts(Split::train), ElementsAre("aaaaaaaaaa", "bbbbb"));
  EXPECT_THAT(texts(Split::validation), ElementsAre("bbbbb", "cccccccccc"));
  prepare(options({write("c.jsonl", line("aaaaa") + line("bbbbb"))}, 0.5, "even"));
  EXPECT_THAT(texts(Split::train, "even"), ElementsAre("aaaaa"));
  EXPECT_THAT(texts(Split::validation, "even"), ElementsAre("bbbbb"));
}

TEST_F(PrepareTest, ManyDocumentsAreSplitByTheirHash) {
  prepare(options({write("a.jsonl", documents(1000))}, 0.2));
  const auto train = texts(Split::train), held_out = texts(Split::validation);
  EXPECT_EQ(train.size() + held_out.size(), 1000u);
  EXPECT_NEAR(static_cast<double>(held_out.size()), 200, 50);  // 4 deviations of the binomial distribution
  std::set<std::string> all(train.begin(), train.end());
  all.insert(held_out.begin(), held_out.end());
  EXPECT_EQ(all.size(), 1000u);  // the splits share nothing, nothing is lost

  // Whatever else there is, and also at a smaller share, no document changes from held out to trained on or
  // back.
  prepare(options({write("b.jsonl", documents(300, 5000) + documents(1000))}, 0.2, "more"));
  const auto held_out_more = texts(Split::validation, "more");
  const std::set<std::string> more(held_out_more.begin(), held_out_more.end());
  for (const std::string& text : held_out) EXPECT_TRUE(more.contains(text));
  for (const std::string& text : train) EXPECT_FALSE(more.contains(text));
  prepare(options({folder / "a.jsonl"}, 0.1, "less"));
  const std::set<std::string> larger(held_out.begin(), held_out.end());
  for (const std::string& text : texts(Split::validation, "less")) EXPECT_TRUE(larger.contains(text));
}

TEST_F(PrepareTest, EqualDocumentsNeverLieInBothSplits) {
  prepare(options({write("a.jsonl", documents(300) + documents(300))}, 0.3));
  const auto train = texts(Split::train), held_out = texts(Split::validation);
  EXPECT_EQ(train.size() + held_out.size(), 600u);
  const std::set<std::string> trained(train.begin(), train.end());
  for (const std::string& text : held_out) EXPECT_FALSE(trained.contains(text));
}

TEST_F(PrepareTest, TwoHundredDocumentsAreMany) {
  prepare(options({write("a.jsonl", documents(199))}, 0.5, "few"));
  const auto few = texts(Split::train, "few"), few_held_out = texts(Split::validation, "few");
  EXPECT_EQ(few.front().substr(0, 11), "document 0 ");
  EXPECT_EQ(few_held_out.back().substr(0, 13), "document 198 ");
  EXPECT_EQ(few.size() + few_held_out.size(), 200u);  // one is divided
  prepare(options({write("b.jsonl", documents(200))}, 0.5, "many"));
  EXPECT_EQ(texts(Split::train, "many").size() + texts(Split::validation, "many").size(), 200u);
  EXPECT_NE(texts(Split::train, "many"), few);
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
  PrepareProgress last;
  data::prepare(skip, *tokenizer, [&](const PrepareProgress& progress) { last = progress; });
  EXPECT_EQ(last.documents, 3);  // "zwö", "lf" and "x"
  EXPECT_EQ(last.text_bytes, 7);
  EXPECT_EQ(last.tokens, 10);
  EXPECT_EQ(last.skipped.documents, 1);
  EXPECT_THAT(last.skipped.first, HasSubstr("a.jsonl, line 2"));
  const Manifest manifest = read_manifest(folder / "data");
  EXPECT_EQ(manifest.tokenizer, "bytes");
  EXPECT_EQ(manifest.vocab_size, 257);
  EXPECT_EQ(manifest.end_of_document, 256);
  EXPECT_EQ(manifest.validation, 0.2);
  EXPECT_EQ(manifest.skipped_documents, 1);
  EXPECT_THAT(manifest.sources, ElementsAre("a.jsonl"));
  const auto train = TokenDataset::open(folder / "data", Split::train);
  const auto held_out = TokenDataset::open(folder / "data", Split::validation);
  EXPECT_EQ(train.documents() + held_out.documents(), 3);
  EXPECT_EQ(train.text_bytes() + held_out.text_bytes(), 7);
  EXPECT_EQ(train.tokens() + held_out.tokens(), 10);
}

TEST_F(PrepareTest, ProgressIsReportedForEachOfManyDocuments) {
  int64_t calls = 0, before = 0;
  data::prepare(options({write("a.jsonl", documents(300))}), *tokenizer,
                [&](const PrepareProgress& progress) {
                  ++calls;
                  EXPECT_GE(progress.tokens, before);
                  before = progress.tokens;
                });
  EXPECT_EQ(calls, 301);
}

TEST_F(PrepareTest, RefusesTextThatIsTooShort) {
  EXPECT_THAT(refuses(options({write("void.txt", "")})), AllOf(HasSubstr("no text"), HasSubstr("void.txt")));
  EXPECT_THAT(refuses(options({folder / "void.txt", write("b.jsonl", "\n")})),
              HasSubstr("void.txt and 1 more"));
  EXPECT_THAT(refuses(options({write("a.txt", "x")}, 0.5)),
              AllOf(HasSubstr("to train on"), HasSubstr("1 bytes"), HasSubstr("--validation")));
  EXPECT_THAT(refuses(options({write("a.jsonl", documents(200))}, 1e-9)), HasSubstr("to hold out"));
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

TEST_F(PrepareTest, ATornPreparationIsNoDatasetAndCanBeRepeated) {
  PrepareOptions o = options({write("a.jsonl", documents(300)), write("b.jsonl", "bad\n")});
  o.shard_tokens = 5000;
  EXPECT_THAT(refuses(o), HasSubstr("b.jsonl, line 1"));
  EXPECT_TRUE(fs::exists(folder / "data" / "train-00000.bin"));
  EXPECT_FALSE(is_dataset(folder / "data"));
  EXPECT_THAT(refusal([&] { TokenDataset::open(folder / "data", Split::train); }),
              HasSubstr("no manifest.json"));
  o.inputs.pop_back();
  prepare(o);
  EXPECT_EQ(texts(Split::train).size() + texts(Split::validation).size(), 300u);
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
  EXPECT_THAT(opening(),
              AllOf(HasSubstr("manifest.json cannot be read"), HasSubstr("Prepare the data again")));
  write("data/manifest.json", "[]");
  EXPECT_THAT(opening(), HasSubstr("manifest.json cannot be read"));
  EXPECT_THAT(with_manifest("\"format\": 1", "\"format\": 2"),
              AllOf(HasSubstr("format 2"), HasSubstr("reads format 1")));
  EXPECT_THAT(with_manifest("vocab_size", "size"), HasSubstr("vocab_size"));
  EXPECT_THAT(with_manifest("\"checksum\": \"", "\"checksum\": \"xyz"),
              HasSubstr("manifest.json cannot be read"));
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
