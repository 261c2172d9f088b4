// The data that a run reads: raw text whose content changes, text of the user's own to hold out, a tokenizer
// that is gone.
#include "launcher/run/sources.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "common/file.h"
#include "common/hash.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/kept_tokenizer.h"
#include "tests/launcher/refusal.h"
#include "tests/mpi_world.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using tests::refusal;
using tests::world;

// Byte-level BPE without a merge: every byte is a token, and one ends a document.
std::string tokenizer_json() {
  std::string vocabulary;
  int id = 0;
  for (int byte = 0, other = 256; byte < 256; ++byte) {
    const bool shown = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    vocabulary += fmt::format("\"\\u{:04x}\": {}, ", shown ? byte : other++, id++);
  }
  return R"({"model": {"type": "BPE", "merges": [], "vocab": {)" + vocabulary + R"("<|endoftext|>": 256}},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "decoder": {"type": "ByteLevel"},
    "added_tokens": [{"id": 256, "content": "<|endoftext|>", "special": true}]})";
}

// A folder that all ranks share, gone afterwards.
class SourcesTest : public testing::Test {
 protected:
  SourcesTest() {
    std::string name = fmt::format("sisa-sources-{}", ::getpid());
    world().broadcast(name);
    folder_ = fs::temp_directory_path() / name;
    run_ = {folder_ / "run"};
    if (world().is_root()) fs::create_directories(run_.data());
    world().barrier();
  }
  ~SourcesTest() override {
    world().barrier();
    if (world().is_root()) fs::remove_all(folder_);
    world().barrier();
  }
  fs::path write(const std::string& name, const std::string& text) const {
    if (world().is_root()) std::ofstream(folder_ / name) << text;
    world().barrier();
    return folder_ / name;
  }
  static std::string text(const std::string& word, int count = 2'000) {
    std::string all;
    for (int i = 0; i < count; ++i) all += word + (i % 7 == 0 ? "\n" : " ");
    return all;
  }
  Recipe recipe(const std::string& data) const {
    return parse_recipe(
        "model: {system: transformer, vocab_size: 257, d_model: 32, num_layers: 1, num_heads: 2, d_ff: "
        "32}\ntrain: {max_tokens: 640 tokens, batch: 64 tokens, warmup: 0 steps}\ndata:\n  sequence_length: "
        "32\n  " +
            data,
        "r.yaml");
  }
  Sources open(const std::string& data) const { return {recipe(data), run_, Reporter(false, ""), world()}; }

  fs::path folder_;
  RunFolder run_;
};

TEST_F(SourcesTest, ATextOfEqualSizeAndTimeIsPreparedAnew) {
  const fs::path source = write("a.txt", text("alpha"));
  const std::string nested = fmt::format("tokenizer: bytes\n  sources: [{{path: {}}}]", source.string());
  const std::string before = open(nested).fingerprint();
  EXPECT_EQ(open(nested).fingerprint(), before);
  const auto time = fs::last_write_time(source);
  world().barrier();
  write("a.txt", text("gamma"));
  if (world().is_root()) fs::last_write_time(source, time);
  world().barrier();
  const std::string after = open(nested).fingerprint();
  EXPECT_NE(after, before);
  // The same content under another name and at another time gives the same tokens.
  const fs::path moved = write("b.txt", text("alpha"));
  EXPECT_EQ(open(fmt::format("tokenizer: bytes\n  sources: [{{path: {}}}]", moved.string())).fingerprint(),
            before);
}

// Its name was made of path, size and time.
TEST_F(SourcesTest, ARunOfAFormerVersionGoesOnWithItsDataset) {
  const fs::path source = write("a.txt", text("alpha"));
  const std::string data = fmt::format("tokenizer: bytes\n  sources: [{{path: {}}}]", source.string());
  const std::string fingerprint = open(data).fingerprint();
  world().barrier();
  const auto folders = [&] {
    return std::distance(fs::directory_iterator(run_.data()), fs::directory_iterator());
  };
  if (world().is_root()) {
    const std::string identity = fmt::format("{} {} {} bytes 0.01", source.string(), fs::file_size(source),
                                             fs::last_write_time(source).time_since_epoch().count());
    const fs::path now = fs::directory_iterator(run_.data())->path();
    fs::rename(now, run_.data() / ("a-" + common::hash_hex(common::hash64(identity))));
  }
  world().barrier();
  EXPECT_EQ(open(data).fingerprint(), fingerprint);
  EXPECT_EQ(folders(), 1);
}

// Of a former version, too, which cut held-out documents off.
TEST_F(SourcesTest, LostTokensAreSaid) {
  const fs::path source = write("a.txt", text("alpha"));
  const std::string data = fmt::format("tokenizer: bytes\n  sources: [{{path: {}}}]", source.string());
  const auto said = [&] {
    testing::internal::CaptureStdout();
    Sources(recipe(data), run_, Reporter(world().is_root(), ""), world());
    return testing::internal::GetCapturedStdout();
  };
  said();
  const auto change = [&](const std::string& cut) {
    world().barrier();
    if (world().is_root()) {
      const fs::path manifest = fs::directory_iterator(run_.data())->path() / "manifest.json";
      std::string json = common::read_file(manifest);
      json.replace(json.find("\"sources\""), 0, "\"cut_tokens\": " + cut + ", ");
      common::write_file_atomically(manifest, json);
    }
    world().barrier();
  };
  EXPECT_EQ(said(), "");
  change("200");  // of 11,900
  EXPECT_EQ(said(), "");
  change("300");
  EXPECT_THAT(said(), world().is_root() ? HasSubstr("300 tokens of") : HasSubstr(""));
}

TEST_F(SourcesTest, TextOfTheUsersOwnIsHeldOut) {
  const fs::path source = write("a.txt", text("alpha"));
  if (world().is_root()) fs::create_directories(folder_ / "own");
  world().barrier();
  write("own/b.txt", text("gamma", 500));
  write("own/c.jsonl", "{\"text\": \"" + std::string(640, 'x') + "\"}\n");
  const auto with = [&](const std::string& validation) {
    return open(fmt::format("tokenizer: bytes\n  sources: [{{path: {}}}]\n  validation: {}", source.string(),
                            validation));
  };
  const Sources own = with((folder_ / "own").string());
  EXPECT_EQ(own.held_out().num_windows(), (500 * 6 + 1 + 641 - 1) / 32);
  EXPECT_EQ(own.training().samples_per_epoch(),
            (2'000 * 6 + 1 - 1) / 32);  // nothing of the source is held out
  EXPECT_EQ(with((folder_ / "own" / "b.txt").string()).held_out().num_windows(), 500 * 6 / 32);
  EXPECT_GT(own.held_out().tokens_per_byte(), 1);
  // Tokens too: all that a folder of a preparation holds.
  std::string tokens;
  if (world().is_root())
    for (const auto& entry : fs::directory_iterator(run_.data()))
      if (entry.path().filename().string().starts_with("b-")) tokens = entry.path().string();
  world().broadcast(tokens);
  EXPECT_EQ(with(tokens).held_out().num_windows(), 500 * 6 / 32);
  EXPECT_THAT(refusal([&] { with((folder_ / "absent").string()); }), HasSubstr("data.validation"));
}

TEST_F(SourcesTest, TheCopyOfATokenizerThatIsGoneServes) {
  const fs::path source = write("a.txt", text("alpha")),
                 file = write("tokenizer-file.json", tokenizer_json());
  const std::string data =
      fmt::format("tokenizer: {}\n  sources: [{{path: {}}}]", file.string(), source.string());
  const std::string before = open(data).fingerprint();
  const Recipe with_file = recipe(data);
  if (world().is_root()) keep_tokenizer(with_file, run_);
  EXPECT_EQ(tokenizer_of(with_file, run_), file.string());
  world().barrier();
  if (world().is_root()) fs::remove(file);
  world().barrier();
  EXPECT_EQ(tokenizer_of(with_file, run_), run_.tokenizer().string());
  EXPECT_EQ(open(data).fingerprint(), before);
  world().barrier();
  if (world().is_root()) fs::remove(run_.tokenizer());  // as in a run that began before copies were kept
  world().barrier();
  EXPECT_THAT(tokenizer_of(with_file, run_), HasSubstr("/data/a-"));
  EXPECT_EQ(open(data).fingerprint(), before);
  world().barrier();
  if (world().is_root()) fs::remove_all(run_.data());
  world().barrier();
  EXPECT_THAT(refusal([&] { open(data); }), HasSubstr("There is no tokenizer"));
}

}  // namespace
}  // namespace sisa::launcher
