#include "data/prepare/document_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "data/prepare/input_blocks.h"
#include "data/prepare/json_line.h"
#include "tests/data/data_folder.h"
#include "tests/data/packing.h"

namespace sisa::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Makes the descriptor `file`, which it closes, standard input until the end of the scope.
class StandardInput {
 public:
  explicit StandardInput(int file) : saved_(::dup(STDIN_FILENO)) {
    ::dup2(file, STDIN_FILENO);
    ::close(file);
  }
  ~StandardInput() {
    ::dup2(saved_, STDIN_FILENO);
    ::close(saved_);
  }

 private:
  int saved_;
};

class DocumentReaderTest : public DataFolder {
 protected:
  // All documents, in order, read in blocks. Documents that cannot be read go to `bad`.
  std::vector<std::string> read(const std::vector<fs::path>& paths, int64_t block_bytes = 1 << 20) {
    std::vector<std::string> documents;
    bad.clear();
    const auto inputs = look_at(paths);
    const auto units = list_units(inputs, block_bytes);
    BlockSource source(inputs, units, block_bytes, 0, 1, [](size_t) { return false; });
    const BlockVisitor visitor = {
        .document = [&](size_t, std::string_view text) { documents.emplace_back(text); },
        .bad =
            [&](size_t input, int64_t line, const std::string& reason, std::string_view advice) {
              bad.push_back(
                  fmt::format("{}:{} {} {}", inputs[input].path.filename().string(), line, reason, advice));
            }};
    for (InputBlock block; source.next(block);) read_block(inputs, units[block.unit], block, visitor);
    return documents;
  }
  std::vector<std::string> read(const fs::path& path) { return read(std::vector{path}); }
  std::vector<std::string> read_standard_input(std::string_view content) {
    const StandardInput redirected(::open(write("standard-input", content).c_str(), O_RDONLY));
    return read("-");
  }
  // `content` arrives in parts of 7,001 bytes.
  std::vector<std::string> read_pipe(std::string_view content) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const std::jthread writer([=] {
      for (std::string_view left = content; !left.empty();) {
        const ssize_t written = ::write(ends[1], left.data(), std::min<size_t>(left.size(), 7'001));
        if (written <= 0) break;
        left.remove_prefix(static_cast<size_t>(written));
      }
      ::close(ends[1]);
    });
    const StandardInput redirected(ends[0]);  // closed before the writer is waited for
    return read("-");
  }
  std::string refuses(const fs::path& path) {
    return refusal([&] { read(path); });
  }

  std::vector<std::string> bad;
};

const std::string two_lines = R"({"text": "one\nline"})"
                              "\n\n  \r\n"
                              R"({"meta": {"text": 3}, "text": "zw\u00f6lf"})"
                              "\r\n";
const auto two_documents = ElementsAre("one\nline", "zwölf");

TEST_F(DocumentReaderTest, AFileOfTextIsOneDocument) {
  EXPECT_THAT(read(write("a.txt", "one\ntwo\n\n{}")), ElementsAre("one\ntwo\n\n{}"));
  EXPECT_THAT(read(write("no-ending", "x")), ElementsAre("x"));
  EXPECT_THAT(read(write("a.txt", "")), IsEmpty());
  EXPECT_THAT(read(write("a.txt.gz", gzip("packed"))), ElementsAre("packed"));
  EXPECT_THAT(read(write("a.txt.zst", zstd("packed"))), ElementsAre("packed"));
}

TEST_F(DocumentReaderTest, EveryPackingOfLinesGivesTheSameDocuments) {
  EXPECT_THAT(read(write("a.jsonl", two_lines)), two_documents);
  EXPECT_THAT(read(write("a.jsonl.zst", zstd(two_lines))), two_documents);
  EXPECT_THAT(read(write("a.jsonl.gz", gzip(two_lines))), two_documents);
  EXPECT_THAT(read_standard_input(two_lines), two_documents);
  EXPECT_THAT(read_standard_input(" \n" + two_lines), two_documents);
  EXPECT_THAT(read_standard_input("plain {text}"), ElementsAre("plain {text}"));
  EXPECT_THAT(read_standard_input(" \n"), ElementsAre(" \n"));
  EXPECT_THAT(read_standard_input(""), IsEmpty());
}

TEST_F(DocumentReaderTest, StandardInputMayBeAPipe) {
  std::string lines;
  std::vector<std::string> documents;
  for (int i = 0; i < 20'000; ++i) {
    documents.push_back("document " + std::to_string(i) + std::string(static_cast<size_t>(i) % 200, 'x'));
    lines += "{\"text\": \"" + documents.back() + (i % 2 ? "\"}\n" : "\"}\r\n");
  }
  EXPECT_TRUE(read_pipe(lines) == documents);
  const std::string text(3'000'000, 'x');
  EXPECT_TRUE(read_pipe(text) == std::vector{text});
  EXPECT_THAT(read_pipe(""), IsEmpty());
}

TEST_F(DocumentReaderTest, TheLastLineNeedsNoEnd) {
  EXPECT_THAT(read(write("a.jsonl", R"({"text": "x"})")), ElementsAre("x"));
  EXPECT_THAT(read(write("a.jsonl", "")), IsEmpty());
}

TEST_F(DocumentReaderTest, EmptyDocumentsArePassedOver) {
  EXPECT_THAT(read(write("a.jsonl", "{\"text\": \"\"}\n{\"text\": \"x\"}\n")), ElementsAre("x"));
  EXPECT_THAT(bad, IsEmpty());
}

// Sizes around the blocks of 1 MiB that are read at once. The text compresses so well that all of the output
// is still in the decoder when its input has ended.
TEST_F(DocumentReaderTest, LongDocumentsCrossTheBlocks) {
  for (const size_t size : {(1u << 20) - 1, 1u << 20, (1u << 20) + 1, 5'000'000u}) {
    const std::string text(size, 'x'), lines = "{\"text\": \"" + text + "\"}\n{\"text\": \"last\"}\n";
    for (const auto& [name, content] :
         {std::pair{"a.txt", text}, {"a.txt.zst", zstd(text)}, {"a.txt.gz", gzip(text)}})
      EXPECT_TRUE(read(write(name, content)) == std::vector{text}) << name << size;
    for (const auto& [name, content] :
         {std::pair{"a.jsonl", lines}, {"a.jsonl.zst", zstd(lines, 19)}, {"a.jsonl.gz", gzip(lines)}})
      EXPECT_TRUE(read(write(name, content)) == (std::vector<std::string>{text, "last"})) << name << size;
  }
}

TEST_F(DocumentReaderTest, PackedPartsFollowOneAnother) {
  EXPECT_THAT(read(write("a.txt.zst", zstd("one, ") + zstd("two"))), ElementsAre("one, two"));
  EXPECT_THAT(read(write("a.txt.gz", gzip("one, ") + gzip("two"))), ElementsAre("one, two"));
  EXPECT_THAT(read(write("a.jsonl.zst", zstd(two_lines) + zstd("{\"te") + zstd("xt\": \"three\"}"))),
              ElementsAre("one\nline", "zwölf", "three"));
}

TEST_F(DocumentReaderTest, RefusesWhatItCannotUnpack) {
  std::string noise;
  for (uint32_t i = 0, x = 1; i < 300'000; ++i, x = x * 1664525 + 1013904223)
    noise += static_cast<char>('a' + (x >> 28));
  const std::string zst = zstd(noise), gz = gzip(noise);
  for (const size_t kept : {zst.size() - 1, zst.size() / 2, size_t{5}})
    EXPECT_THAT(refuses(write("a.txt.zst", zst.substr(0, kept))),
                AllOf(HasSubstr("a.txt.zst"), HasSubstr("cut off")));
  for (const size_t kept : {gz.size() - 1, gz.size() / 2})
    EXPECT_THAT(refuses(write("a.txt.gz", gz.substr(0, kept))),
                AllOf(HasSubstr("a.txt.gz"), HasSubstr("cut off")));
  EXPECT_THAT(refuses(write("a.txt.zst", "no zstd")), AllOf(HasSubstr("a.txt.zst"), HasSubstr("zstd")));
  EXPECT_THAT(refuses(write("a.txt.gz", "no gzip")), AllOf(HasSubstr("a.txt.gz"), HasSubstr("Rename")));
  std::string wrong = gz;
  wrong[wrong.size() / 2] ^= 1;
  EXPECT_THAT(refuses(write("a.txt.gz", wrong)), HasSubstr("a.txt.gz"));
}

TEST_F(DocumentReaderTest, RefusesWhatIsNoFile) {
  EXPECT_THAT(refuses(folder / "absent.txt"), AllOf(HasSubstr("absent.txt"), HasSubstr("no such file")));
  EXPECT_THAT(refuses(folder), AllOf(HasSubstr("is a folder"), HasSubstr("/*.txt")));
  EXPECT_THAT(refuses(folder / std::string(300, 'n')), HasSubstr("File name too long"));
  for (const char* name : {"socket.txt", "socket.gz"}) {
    ASSERT_EQ(::mknod((folder / name).c_str(), S_IFSOCK | 0600, 0), 0);
    EXPECT_THAT(refuses(folder / name), AllOf(HasSubstr("Cannot read"), HasSubstr(name)));
  }
  EXPECT_THAT(refuses(write("a.parquet", "PAR1")), HasSubstr("scripts/parquet_to_jsonl.py"));
  EXPECT_THAT(refusal([&] { read(std::vector<fs::path>{"-", "-"}); }), HasSubstr("named twice"));
  EXPECT_THAT(refuses("/proc/self/mem"), AllOf(HasSubstr("cannot read"), HasSubstr("/proc/self/mem")));
}

TEST_F(DocumentReaderTest, BadLinesAreNamed) {
  const std::string good = "{\"text\": \"good\"}\n";
  for (const auto& [line, reason] :
       {std::pair<std::string, std::string>{"{\"text\": \"cut", "is no valid JSON in UTF-8"},
        {"{\"text\": \"\xE9\"}", "is no valid JSON in UTF-8"},
        {"{\"text\": \"\\ud800\"}", "is no valid JSON in UTF-8"},
        {"[1, 2]", "is no JSON object"},
        {"{\"txt\": \"x\"}", "has no field 'text'"},
        {"{\"text\": 3}", "has a field 'text' that is no string"}}) {
    EXPECT_THAT(read(write("a.jsonl", good + line + "\n" + good + line + "\n" + good)),
                ElementsAre("good", "good", "good"));
    EXPECT_THAT(bad, ElementsAre(AllOf(HasSubstr("a.jsonl:2 " + reason), HasSubstr("--on-error skip")),
                                 HasSubstr("a.jsonl:4 " + reason)));
  }
  read_standard_input("{]");
  EXPECT_THAT(bad, ElementsAre(HasSubstr("-:1 is no valid JSON")));
}

TEST_F(DocumentReaderTest, TextThatIsNoUtf8IsNamed) {
  EXPECT_THAT(read(write("latin1.txt", "one\ntwo\ncaf\xE9 au lait")), IsEmpty());
  EXPECT_THAT(
      bad, ElementsAre(AllOf(HasSubstr("latin1.txt:3"), HasSubstr("0xe9 at offset 11"), HasSubstr("iconv"))));
}

// A small compressed file may unpack to any length, and a pipe may never end.
TEST_F(DocumentReaderTest, ADocumentMayNotBeEndless) {
  constexpr int64_t most = 1'000'000;
  const std::string line = std::string(3'000'000, 'x') + "\n";
  const fs::path packed = write("a.jsonl.gz", gzip(line));
  const auto refused = [&](const auto& use) {
    LineStream stream(open_stream(packed), 0, most);
    EXPECT_THAT(
        refusal([&] { use(stream); }),
        AllOf(HasSubstr("a.jsonl.gz holds a document of more than 1,000,000 bytes"), HasSubstr("Cut it")));
  };
  std::string lines;
  refused([&](LineStream& stream) { stream.take(std::numeric_limits<int64_t>::max(), lines); });
  refused([&](LineStream& stream) { stream.take(100, lines); });
  LineStream enough(open_stream(packed), 0, 4'000'000);
  enough.take(100, lines);
  EXPECT_EQ(lines.size(), line.size());
  LineStream endless(open_stream(write("b.txt", std::string(3'000'000, ' '))), 0, most);
  EXPECT_THAT(refusal([&] { endless.first_character(); }), HasSubstr("b.txt holds a document of more than"));
}

TEST_F(DocumentReaderTest, ALineThatIsNestedDeeplyIsBad) {
  std::string text;
  EXPECT_THAT(read_text_field("{\"a\":" + std::string(1'000'000, '['), text),
              HasSubstr("nested more than 512"));
  const std::string deep = std::string(400, '[') + std::string(400, ']');
  EXPECT_EQ(read_text_field("{\"a\":" + deep + ",\"text\":\"x\"}", text), "");
  EXPECT_EQ(text, "x");
}

}  // namespace
}  // namespace sisa::data
