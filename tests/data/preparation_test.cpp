// Preparations by several processes and threads, and preparations that are interrupted.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "tests/data/packing.h"
#include "tests/data/prepare_folder.h"

namespace sisa::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class PreparationTest : public PrepareTest {
 protected:
  // Inputs of every kind, divided into about fifty blocks, with repeated documents and bad lines.
  PrepareOptions mixed(const std::string& output) const {
    if (!fs::exists(folder / "a.jsonl")) {
      write("a.jsonl", documents(300) + "bad\n" + documents(50, 250));
      write("b.jsonl.zst", zstd(documents(400, 200)));
      write("c.jsonl.gz", gzip(documents(300, 900) + "{}\n" + documents(20)));
      write("d.txt", "one text");
      write("e.txt", "another text");
    }
    PrepareOptions o = options({folder / "a.jsonl", folder / "b.jsonl.zst", folder / "c.jsonl.gz",
                                folder / "d.txt", folder / "e.txt"},
                               0.1, output);
    o.on_error = OnError::skip;
    o.deduplicate = true;
    o.shard_tokens = 30'000;
    o.block_bytes = 4'000;
    return o;
  }
  // Prepares as `parts` processes would, one after another, the last one first.
  Manifest prepare_in_parts(const PrepareOptions& o, int parts) const {
    Preparation first(o, *tokenizer);
    first.begin();
    for (int part = parts - 1; part > 0; --part) Preparation(o, *tokenizer).tokenize(part, parts);
    first.tokenize(0, parts);
    return first.finish();
  }
  std::string unfinished(const std::string& output) const {
    return (folder / output / "unfinished").string();
  }
  std::vector<std::string> pieces(const std::string& output) const {
    std::vector<std::string> names;
    if (fs::exists(unfinished(output)))
      for (const auto& entry : fs::directory_iterator(unfinished(output)))
        if (entry.path().extension() == ".piece") names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST_F(PreparationTest, AnyNumberOfThreadsAndProcessesGivesTheSameFiles) {
  PrepareOptions o = mixed("one");
  o.threads = 1;
  const Manifest manifest = prepare(o);
  EXPECT_GT(manifest.train.size(), 2u);
  for (const int threads : {2, 5}) {
    o = mixed("threads" + std::to_string(threads));
    o.threads = threads;
    prepare(o);
    EXPECT_EQ(files(o.output), files("one")) << threads;
  }
  for (const int parts : {2, 3, 7}) {
    o = mixed("parts" + std::to_string(parts));
    prepare_in_parts(o, parts);
    EXPECT_EQ(files(o.output), files("one")) << parts;
  }
  // The size of the blocks does not matter either.
  o = mixed("whole");
  o.block_bytes = 1 << 20;
  prepare(o);
  EXPECT_EQ(files("whole"), files("one"));
}

TEST_F(PreparationTest, TheFirstOfEqualDocumentsRemains) {
  const PrepareOptions o = mixed("dropped");
  const Manifest manifest = prepare(o);
  // 300 + 50 (250 to 299) + 400 (200 to 599) + 300 (900 to 1199) + 20 (0 to 19) + 2 texts
  EXPECT_EQ(manifest.duplicate_documents, 50 + 100 + 20);
  EXPECT_EQ(manifest.skipped_documents, 2);
  EXPECT_THAT(manifest.first_skipped, HasSubstr("a.jsonl, line 301, column 1: 'b' stands"));
  EXPECT_EQ(manifest.sources[1].documents, 400);

  // Files that contain each document once, at the place of its first occurrence.
  write("once.jsonl", documents(600) + documents(300, 900) + line("one text") + line("another text"));
  prepare(options({folder / "once.jsonl"}, 0.1, "once"));
  EXPECT_EQ(ids(Split::train, "dropped"), ids(Split::train, "once"));
  EXPECT_EQ(ids(Split::validation, "dropped"), ids(Split::validation, "once"));
}

TEST_F(PreparationTest, OneTextAThousandTimesIsOneDocument) {
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += line("always the same");
  PrepareOptions o = options({write("a.jsonl", lines)}, 0.2);
  o.deduplicate = true;
  EXPECT_EQ(prepare(o).duplicate_documents, 999);
  EXPECT_THAT(texts(Split::train), ElementsAre("always the s"));
  EXPECT_THAT(texts(Split::validation), ElementsAre("ame"));
}

// A tokenizer whose ids are bytes plus 70,000, so that they need 32 bits.
class WideTokenizer : public Tokenizer {
 public:
  void encode(std::string_view text, std::vector<uint32_t>& ids) const override {
    for (const char c : text) ids.push_back(70'000 + static_cast<unsigned char>(c));
  }
  std::string decode(std::span<const uint32_t> ids) const override {
    std::string text;
    for (const uint32_t id : ids) text += static_cast<char>(id - 70'000);
    return text;
  }
  int64_t vocab_size() const override { return 80'000; }
  uint32_t end_of_document() const override { return 5; }
  std::string fingerprint() const override { return "wide"; }
};

TEST_F(PreparationTest, LargeVocabulariesTake32Bits) {
  const PrepareOptions o = options({write("a.txt", "some text")}, 0.5);
  data::prepare(o, WideTokenizer());
  EXPECT_THAT(ids(Split::train), ElementsAre(70'115, 70'111, 70'109, 70'101, 5));
  EXPECT_EQ(ids(Split::validation).size(), 6u);
  EXPECT_EQ(fs::file_size(o.output / "train-00000.bin"), 64u + 5 * 4);
}

TEST_F(PreparationTest, AKilledPreparationGoesOnWhereItStopped) {
  prepare(mixed("whole"));
  const auto fine = [&](const std::string& output) {
    PrepareOptions o = mixed(output);
    o.threads = 2;
    o.block_bytes = 1'000;
    return o;
  };
  std::set<size_t> seen;  // numbers of pieces
  int complete = 0;
  for (int trial = 0; trial < 12; ++trial) {
    const std::string output = "killed" + std::to_string(trial);
    for (int kills = 0; kills < 3 && !is_dataset(folder / output); ++kills) {
      const pid_t child = ::fork();
      if (child == 0) {
        refuses(fine(output));  // or succeeds; nothing may be thrown in here
        ::_exit(0);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(500 + 2'500 * trial + 700 * kills));
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
      seen.insert(pieces(output).size());
    }
    if (is_dataset(folder / output) && !fs::exists(unfinished(output) + ".json"))
      ++complete;
    else
      prepare(fine(output));
    EXPECT_EQ(files(output), files("whole")) << output;
  }
  EXPECT_GT(seen.size(), 2u);  // the kills came at different moments
  EXPECT_LT(complete, 12);
}

TEST_F(PreparationTest, PiecesThatAreThereAreNotMadeAgain) {
  prepare(mixed("whole"));
  std::optional<Preparation> first(std::in_place, mixed("data"), *tokenizer);
  first->begin();
  Preparation(mixed("data"), *tokenizer).tokenize(1, 3);
  const auto made = pieces("data");
  EXPECT_GT(made.size(), 10u);
  const auto before = fs::last_write_time(unfinished("data") + "/" + made[3]);

  Preparation second(mixed("data"), *tokenizer);
  EXPECT_THAT(refusal([&] { second.begin(); }), HasSubstr("Another process is preparing"));
  first.emplace(mixed("data"), *tokenizer);
  EXPECT_THAT(first->begin().remark, HasSubstr(std::to_string(made.size()) + " pieces"));
  const PrepareProgress found = first->progress();
  EXPECT_GT(found.found_text_bytes, 0);
  EXPECT_EQ(found.found_text_bytes, found.text_bytes);
  first->tokenize(0, 1);
  EXPECT_EQ(fs::last_write_time(unfinished("data") + "/" + made[3]), before);
  EXPECT_GT(first->progress().text_bytes, found.text_bytes);
  EXPECT_EQ(first->progress().input_bytes, first->input_bytes());
  first->finish();
  EXPECT_EQ(files("data"), files("whole"));
}

TEST_F(PreparationTest, WhatIsLeftOfAnotherPreparationIsRemoved) {
  PrepareOptions o = options({write("a.jsonl", documents(300)), write("b.jsonl", "bad\n")});
  o.block_bytes = 4'000;
  EXPECT_THAT(refuses(o), HasSubstr("b.jsonl, line 1"));
  EXPECT_FALSE(is_dataset(folder / "data"));
  EXPECT_THAT(pieces("data"), testing::Not(IsEmpty()));
  o.inputs.pop_back();
  {
    Preparation preparation(o, *tokenizer);
    EXPECT_THAT(preparation.begin().remark, HasSubstr("starts over"));
    EXPECT_THAT(pieces("data"), IsEmpty());
    preparation.tokenize(0, 1);
  }
  write("a.jsonl", documents(301));  // of another size
  Preparation preparation(o, *tokenizer);
  EXPECT_THAT(preparation.begin().remark, HasSubstr("starts over"));
  preparation.tokenize(0, 1);
  preparation.finish();
  EXPECT_EQ(texts(Split::train).size() + texts(Split::validation).size(), 301u);
  EXPECT_FALSE(fs::exists(unfinished("data")));
}

// A file of equal size and time that took the place of another, as rsync -t and tar put it there.
TEST_F(PreparationTest, AFileThatWasReplacedIsReadAnew) {
  const fs::path file = write("a.jsonl", documents(300));
  PrepareOptions o = options({file});
  o.block_bytes = 4'000;
  {
    Preparation preparation(o, *tokenizer);
    preparation.begin();
    preparation.tokenize(0, 2);
  }
  const auto time = fs::last_write_time(file);
  std::string other = documents(300);
  std::replace(other.begin(), other.end(), 'd', 'D');
  write("a.jsonl", other);
  fs::last_write_time(file, time);
  Preparation preparation(o, *tokenizer);
  EXPECT_THAT(preparation.begin().remark, HasSubstr("starts over"));
  preparation.tokenize(0, 1);
  preparation.finish();
  EXPECT_EQ(texts(Split::train).front().substr(0, 9), "Document ");
}

// Only joining depends on these options.
TEST_F(PreparationTest, SharesMayChangeOnTheWay) {
  PrepareOptions o = mixed("data");
  Preparation(o, *tokenizer).begin();
  Preparation(o, *tokenizer).tokenize(0, 1);
  o.validation = 0.3;
  o.deduplicate = false;
  Preparation changed(o, *tokenizer);
  EXPECT_THAT(changed.begin().remark, HasSubstr("goes on"));
  changed.finish();
  o.output = folder / "other";
  prepare(o);
  EXPECT_EQ(files("data"), files("other"));
}

TEST_F(PreparationTest, AKillWhileTidyingUpLeavesADataset) {
  prepare(mixed("data"));
  const auto whole = files("data");
  fs::create_directory(unfinished("data"));
  write("data/unfinished/000001-0000000.piece", "left");
  write("data/unfinished.json", Preparation(mixed("data"), *tokenizer).job());
  EXPECT_EQ(prepare(mixed("data")).train.size(), read_manifest(folder / "data").train.size());
  EXPECT_EQ(files("data"), whole);
  // Another command is refused and harms nothing.
  write("data/unfinished.json", "another");
  EXPECT_THAT(refuses(mixed("data")), HasSubstr("already holds a dataset"));
}

TEST_F(PreparationTest, APieceThatIsDamagedIsMadeAgain) {
  prepare(mixed("whole"));
  const PrepareOptions o = mixed("data");
  {
    Preparation preparation(o, *tokenizer);
    preparation.begin();
    preparation.tokenize(0, 1);
  }
  const auto made = pieces("data");
  const std::string cut = unfinished("data") + "/" + made[1], wrong = unfinished("data") + "/" + made[2];
  fs::resize_file(cut, fs::file_size(cut) - 1);  // shows at once
  std::string bytes = common::read_file(wrong);
  bytes[bytes.size() - 5] ^= 1;  // shows when all is read
  write("data/unfinished/" + made[2], bytes);
  EXPECT_THAT(refuses(o), AllOf(HasSubstr(made[2]), HasSubstr("damaged"), HasSubstr("again")));
  prepare(o);
  EXPECT_EQ(files("data"), files("whole"));
}

TEST_F(PreparationTest, EveryProcessMustSeeTheFolder) {
  Preparation preparation(mixed("data"), *tokenizer);
  preparation.begin();
  preparation.tokenize(1, 2);
  EXPECT_THAT(refusal([&] { preparation.finish(); }),
              AllOf(HasSubstr(".piece is missing"), HasSubstr("must see")));
}

TEST_F(PreparationTest, AFullDiskIsNamedAndTheRunGoesOnLater) {
  prepare(mixed("whole"));
  struct rlimit before {};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 3'000, before.rlim_max };
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string refused = refuses(mixed("data"));
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(refused, AllOf(HasSubstr("cannot write"), HasSubstr("unfinished"), HasSubstr("File too large"),
                             HasSubstr("goes on")));
  prepare(mixed("data"));
  EXPECT_EQ(files("data"), files("whole"));
}

TEST_F(PreparationTest, ForeignTokenFilesAreNotOverwritten) {
  fs::create_directory(folder / "data");
  write("data/train-00000.bin", "of someone else");
  EXPECT_THAT(refuses(mixed("data")), AllOf(HasSubstr("train-00000.bin"), HasSubstr("overwritten")));
  EXPECT_EQ(common::read_file(folder / "data" / "train-00000.bin"), "of someone else");
}

TEST_F(PreparationTest, BadLinesAreNumberedWithinTheirFile) {
  for (const auto& [name, content] :
       std::map<std::string, std::string>{{"a.jsonl", documents(200) + "bad\n" + documents(200)},
                                          {"a.jsonl.zst", zstd(documents(200) + "bad\n" + documents(200))}}) {
    PrepareOptions o =
        options({write("first.jsonl", documents(100)), write(name, content)}, 0.1, name + "-data");
    o.block_bytes = 3'000;
    EXPECT_THAT(refuses(o), HasSubstr(name + ", line 201, column 1: 'b' stands")) << name;
    o.on_error = OnError::skip;  // what is there already is used
    const Manifest manifest = prepare(o);
    EXPECT_EQ(manifest.skipped_documents, 1);
    EXPECT_THAT(manifest.first_skipped, HasSubstr(name + ", line 201, column 1: 'b' stands")) << name;
  }
}

TEST_F(PreparationTest, ADamagedFileStopsTheRun) {
  std::string packed = zstd(documents(3000)), zipped = gzip(documents(3000));
  for (size_t i = 0; i < 20; ++i)
    packed[packed.size() / 2 + i] ^= 0x55, zipped[zipped.size() / 2 + i] ^= 0x55;
  for (const auto& [name, content] : {std::pair{"a.jsonl.zst", packed}, {"a.jsonl.gz", zipped}}) {
    PrepareOptions o = options({write(name, content)});
    o.block_bytes = 4'000;
    o.threads = 3;
    o.on_error = OnError::skip;
    EXPECT_THAT(refuses(o), AllOf(HasSubstr(name), HasSubstr("cannot be decompressed")));
    EXPECT_FALSE(is_dataset(folder / "data"));
  }
}

// Standard input is a file with `content` while `action` runs. Returns what it refuses with.
template <typename Action>
std::string with_input(const fs::path& file, const Action& action) {
  const int saved = ::dup(STDIN_FILENO), input = ::open(file.c_str(), O_RDONLY);
  ::dup2(input, STDIN_FILENO);
  ::close(input);
  const std::string refused = refusal(action);
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  return refused;
}

// What a writer marks, as scripts/parquet_to_jsonl.py does, is not complete without its end.
TEST_F(PreparationTest, AStreamWhoseEndIsMissingIsRefused) {
  const auto mark = [](const std::string& place) {
    return "{\"text\": \"\", \"sisa_stream\": \"" + place + "\"}\n";
  };
  const auto prepare_input = [&](const std::string& content) {
    return with_input(write("input", content), [&] {
      PrepareOptions o = options({"-"});
      o.block_bytes = 4'000;
      prepare(o);
    });
  };
  const std::string whole = mark("begin") + documents(400) + mark("end");
  for (const size_t kept : {mark("begin").size(), mark("begin").size() + documents(100).size(),
                            whole.size() - mark("end").size()}) {
    EXPECT_THAT(prepare_input(whole.substr(0, kept)),
                AllOf(HasSubstr("the end is missing"), HasSubstr("--no-marks")));
    EXPECT_FALSE(is_dataset(folder / "data"));
  }
  EXPECT_THAT(prepare_input(documents(3) + mark("end")), HasSubstr("is not what it was"));
  fs::remove_all(folder / "data");
  EXPECT_THAT(prepare_input(documents(3) + mark("end")), HasSubstr("the beginning is missing"));
  fs::remove_all(folder / "data");
  EXPECT_THAT(prepare_input(whole.substr(0, whole.size() / 2)), HasSubstr("cut off"));
  EXPECT_EQ(prepare_input(whole), "");  // goes on
  EXPECT_EQ(read_manifest(folder / "data").sources[0].documents, 400);
  // The same in a file, and in the parts of one.
  PrepareOptions o =
      options({write("a.jsonl", whole.substr(0, 9'000)), write("b.jsonl", whole.substr(9'000))}, 0.1, "file");
  o.on_error = OnError::skip;
  EXPECT_GE(prepare(o).sources[1].documents, 300);
  o = options({folder / "a.jsonl"}, 0.1, "part");
  o.on_error = OnError::skip;
  EXPECT_THAT(refuses(o), HasSubstr("the end is missing"));
}

TEST_F(PreparationTest, StandardInputIsComparedWhenItComesAgain) {
  const auto prepare_input = [&](const std::string& content, const std::string& output, bool join) {
    return with_input(write("input", content), [&] {
      PrepareOptions o = options({"-"}, 0.1, output);
      o.block_bytes = 4'000;
      Preparation preparation(o, *tokenizer);
      EXPECT_EQ(preparation.input_bytes(), 0);
      preparation.begin();
      preparation.tokenize(0, 1);
      preparation.tokenize(1, 2);  // nothing
      if (join) preparation.finish();
    });
  };
  EXPECT_EQ(prepare_input(documents(400), "whole", true), "");
  EXPECT_EQ(prepare_input(documents(200), "data", false), "");  // ends early
  EXPECT_THAT(prepare_input(documents(200) + line("x") + documents(200, 200), "data", true),
              AllOf(HasSubstr("Standard input is not what it was"), HasSubstr("unfinished")));
  EXPECT_THAT(prepare_input(documents(100, 7), "data", true), HasSubstr("Standard input is not what it was"));
  EXPECT_EQ(prepare_input(documents(200), "data", true), "");
  EXPECT_EQ(texts(Split::train, "data").size() + texts(Split::validation, "data").size(), 200u);
  EXPECT_EQ(prepare_input("plain text", "text", true), "");
  EXPECT_THAT(texts(Split::train, "text"), ElementsAre("plain tex"));
}

}  // namespace
}  // namespace sisa::data
