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
    const auto inputs = look_at(paths, block_bytes);
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
  EXPECT_THAT(read_standard_input(" \n"), IsEmpty());
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
  EXPECT_THAT(refuses(write("a.txt.gz", "no gzip")), AllOf(HasSubstr("a.txt.gz"), HasSubstr("rename")));
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
       {std::pair<std::string, std::string>{"{\"text\": \"cut", "column 14: the line ends within its object"},
        {"{\"text\": \"\xE9\"}", "column 11: the byte 0xe9 is no UTF-8"},
        {"{\"text\": \"zw\u00f6lf \\ud800\"}", "column 17: \\ud800 is half of a surrogate pair"},
        {"{\"text\": \"x\", \"score\": NaN}", "column 24: NaN is no value of JSON"},
        {"{\"text\": \"x\", \"score\": -Infinity}", "column 24: -Infinity is no value of JSON"},
        {std::string("{\"text\": \"x\"}\0", 14), "column 14: a NUL byte follows the object"},
        {"{\"text\": \"x\"}{\"text\": \"y\"}", "column 14: another value follows the object"},
        {"{\"text\": \"x\"},", "column 14: a comma follows the object"},
        {"{\"text\": \"x\"} y", "column 15: 'y' follows the object"},
        {"[1, 2]", "column 1: the line holds an array and no object"},
        {"{\"txt\": \"x\", \"id\": 3}", "column 1: the object has no field 'text', but 'txt', 'id'"},
        {"{\"text\": 3}", "column 10: the field 'text' is 3 and no string"},
        {"{\"text\": null}", "column 10: the field 'text' is null and no string"}}) {
    EXPECT_THAT(read(write("a.jsonl", good + line + "\n" + good + line + "\n" + good)),
                ElementsAre("good", "good", "good"));
    EXPECT_THAT(bad, ElementsAre(AllOf(HasSubstr("a.jsonl:2 " + reason), HasSubstr("--on-error skip")),
                                 HasSubstr("a.jsonl:4 " + reason)));
  }
  read_standard_input("{\"]");
  EXPECT_THAT(bad, ElementsAre(HasSubstr("-:1 column 4: the input ends within an object")));
}

TEST_F(DocumentReaderTest, TextThatIsNoUtf8IsNamed) {
  EXPECT_THAT(read(write("latin1.txt", "one\ntwo\ncaf\xE9 au lait")), IsEmpty());
  EXPECT_THAT(bad, ElementsAre(AllOf(HasSubstr("latin1.txt:3 column 4"), HasSubstr("0xe9 at offset 11"),
                                     HasSubstr("iconv"))));
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
}

// The kind of an input is decided by its content, the same for every name, packing and way in.
TEST_F(DocumentReaderTest, LinesOfJsonAreKnownByTheirContent) {
  for (const char* name : {"a.json", "a.ndjson", "a.jsonlines", "a.jsonl", "a.txt", "a", "a.json.part"}) {
    const auto named = [&](const char* end) { return std::string(name) + end; };
    EXPECT_THAT(read(write(name, two_lines)), two_documents) << name;
    EXPECT_THAT(read(write(named(".gz"), gzip(two_lines))), two_documents) << name;
    EXPECT_THAT(read(write(named(".zst"), zstd(two_lines))), two_documents) << name;
    EXPECT_THAT(read(write(name, gzip(two_lines))), two_documents) << name;
    EXPECT_THAT(read(write(name, zstd(two_lines))), two_documents) << name;
    EXPECT_THAT(read({write(name, two_lines)}, 16), two_documents) << name;  // a large file
    EXPECT_THAT(read({write(name, zstd(two_lines))}, 16), two_documents) << name;
  }
  EXPECT_THAT(read_pipe(gzip(two_lines)), two_documents);
  EXPECT_THAT(read_pipe(zstd(two_lines)), two_documents);
  EXPECT_THAT(read(write("a.json", "{\"text\": \"one object\"}")), ElementsAre("one object"));
  EXPECT_THAT(read(write("crlf.jsonl", "\xEF\xBB\xBF\r\n{\"text\": \"a\"}\r\n{\"text\": \"b\"}\r\n")),
              ElementsAre("a", "b"));
  EXPECT_THAT(read(write("marked", "\xEF\xBB\xBF{\"text\": \"a\"}\n\xEF\xBB\xBF{\"text\": \"b\"}")),
              ElementsAre("a", "b"));
  EXPECT_THAT(read(write("marked.txt", "\xEF\xBB\xBFtext")), ElementsAre("text"));
  EXPECT_THAT(read(write("mark", "\xEF\xBB\xBF")), IsEmpty());
  EXPECT_THAT(bad, IsEmpty());
}

TEST_F(DocumentReaderTest, TextThatOnlyLooksLikeJsonIsText) {
  for (const std::string text :
       {"[1] Smith, J. (1999).\n", "[Illustration]\n\nChapter 1", "[[File:a.jpg]] x", "\"Well,\" she said.\n",
        "\"Yes.\"\n\"No.\"\nThey fell silent.\n", "{{Infobox\n}}", "42\n", "x\n{\"a\": 1}\nx\n"})
    EXPECT_THAT(read(write("a.txt", text)), ElementsAre(text));
  EXPECT_THAT(bad, IsEmpty());
}

// Never one document of JSON's syntax.
TEST_F(DocumentReaderTest, OtherShapesOfJsonAreRefusedWithAdvice) {
  for (const auto& [content, advice] : std::vector<std::pair<std::string, std::string>>{
           {"[{\"text\": \"a\"}, {\"text\": \"b\"}]", "jq -c '.[]'"},
           {"[\n  {\"text\": \"a\"},\n  {\"text\": \"b\"}\n]\n", "jq -c '.[]'"},
           {"\xEF\xBB\xBF\r\n[\r\n{\"text\": \"a\"}\r\n]", "jq -c '.[]'"},
           {"[{\"text\": \"" + std::string(600'000, 'x') + "\"}]", "jq -c '.[]'"},
           {"[\"a\", \"b\"]\n", "jq -c '.[] | {text: .}'"},
           {"[1, 2]\n[3]\n", "jq -c '.[]'"},
           {"\"a\"\n\"b\"\n", "jq -c '{text: .}'"}}) {
    for (const std::string name : {"a.json", "a.txt"}) {
      if (content.front() == '"' && name == "a.json") continue;  // lines of JSON, both bad
      for (const int64_t block_bytes : {16, 1 << 20})
        EXPECT_THAT(refusal([&] { read({write(name, content)}, block_bytes); }),
                    AllOf(HasSubstr(name + ", line 1, column 1: "), HasSubstr(advice), HasSubstr("jq -Rsc")));
    }
    EXPECT_THAT(refusal([&] { read_standard_input(content); }), HasSubstr(advice + " FILE |"));
  }
  const auto first_bad = [&](const std::string& content) {
    EXPECT_THAT(read(write("a.json", content)), IsEmpty());
    return bad.front();
  };
  EXPECT_THAT(first_bad("{\n  \"text\": \"a\"\n}\n"),
              AllOf(HasSubstr("a.json:1 column 2: the line ends within its object"), HasSubstr("jq -c .")));
  EXPECT_THAT(first_bad("{\"data\": [{\"text\": \"a\"}]}"), HasSubstr("no field 'text', but 'data'"));
  EXPECT_THAT(first_bad("{'text': 'a'}\n"),
              HasSubstr("column 2: names and texts of JSON stand between double"));
  EXPECT_THAT(read(write("cut-front.txt", "end of a\"}\n{\"text\": \"b\"}\n{\"text\": \"c\"}\n{\"te")),
              ElementsAre("b", "c"));
  EXPECT_THAT(bad, ElementsAre(HasSubstr("txt:1 column 1: 'e' stands where an object should begin"),
                               HasSubstr("txt:4 column 5: the input ends within an object: it is cut off")));
  read(write("nul.txt", std::string("a text\n\0\0", 9)));
  EXPECT_THAT(bad, ElementsAre(HasSubstr("nul.txt:2 column 1: the byte 0x00 at offset 7 is no text")));
  read(write("utf16.txt", std::string("\xFF\xFEh\0i\0", 6)));
  EXPECT_THAT(bad, ElementsAre(HasSubstr("iconv -f UTF-16")));
}

TEST_F(DocumentReaderTest, FilesOfOtherKindsAreRefusedWithAdvice) {
  std::string tar(512, '\0');
  tar.replace(0, 5, "a.txt").replace(257, 5, "ustar");
  for (const auto& [content, advice] :
       std::vector<std::pair<std::string, std::string>>{{std::string("\xFD"
                                                                     "7zXZ\0\0\4",
                                                                     8),
                                                         "xz -dc"},
                                                        {"BZh91AY&SY\1\2", "bzip2 -dc"},
                                                        {"\x04\x22\x4D\x18rest", "lz4 -dc"},
                                                        {std::string("\x5D\0\0\x80\0", 5), "xz -dc"},
                                                        {"\x1F\x9Drest", "gzip -dc"},
                                                        {"PK\x03\x04rest", "unzip -p"},
                                                        {tar, "Unpack it"},
                                                        {"PAR1rest", "parquet_to_jsonl.py"}}) {
    EXPECT_THAT(refuses(write("a.txt", content)), HasSubstr(advice));
    EXPECT_THAT(refuses(write("a.jsonl", content)), HasSubstr(advice));
    EXPECT_THAT(refuses(write("a.gz", gzip(content))), HasSubstr(advice));
    EXPECT_THAT(refusal([&] { read_standard_input(content); }), HasSubstr(advice));
  }
  EXPECT_THAT(refuses(write("a.gz", gzip(gzip("text")))), HasSubstr("compressed by gzip twice"));
  EXPECT_THAT(refuses(write("a.jsonl.gz", "")), AllOf(HasSubstr("is empty"), HasSubstr(".gz")));
  EXPECT_THAT(refuses(write("a.zst", "")), HasSubstr("is empty"));
}

// A damaged byte anywhere in a stream of several parts, or bytes cut off or added, never lose documents in
// silence.
TEST_F(DocumentReaderTest, DamageInAnyCompressedPartIsFound) {
  std::string lines[3];
  uint32_t x = 1;
  for (std::string& part : lines)
    for (int i = 0; i < 6; ++i) {
      part += "{\"text\": \"";
      for (int j = 0; j < 40; ++j, x = x * 1664525 + 1013904223) part += static_cast<char>('a' + (x >> 28));
      part += "\"}\n";
    }
  const auto documents = read(write("whole.jsonl", lines[0] + lines[1] + lines[2]));
  ASSERT_EQ(documents.size(), 18u);
  const std::string gz = gzip(lines[0]) + gzip(lines[1]) + gzip(lines[2]);
  const std::string zst = zstd_checked(lines[0]) + zstd_checked(lines[1]) + zstd_checked(lines[2]);
  EXPECT_EQ(read(write("a.jsonl.gz", gz)), documents);
  EXPECT_EQ(read(write("a.jsonl.zst", zst)), documents);
  EXPECT_EQ(read(write("padded.jsonl.gz", gz + std::string(1000, '\0'))), documents);
  for (const auto& [name, content] :
       {std::pair<std::string, std::string>{"a.jsonl.gz", gz}, {"a.jsonl.zst", zst}}) {
    const auto lost = [&](const std::string& damaged) {
      std::vector<std::string> found;
      return refusal([&] { found = read(write(name, damaged)); }).empty() && bad.empty() &&
             found != documents;
    };
    for (size_t i = 0; i < content.size(); ++i) {
      std::string damaged = content;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
      EXPECT_FALSE(lost(damaged)) << name << " " << i;
    }
    const size_t part = content.size() / 3;
    for (size_t size = content.size() - part / 2; size < content.size(); ++size)
      EXPECT_FALSE(lost(content.substr(0, size))) << name << " " << size;
    for (const std::string tail : {"x", "garbage at the end", "{\"text\": \"more\"}\n"})
      EXPECT_THAT(refuses(write(name, content + tail)),
                  AllOf(HasSubstr("cannot be decompressed"), HasSubstr("part 4")));
  }
}

// As `zstd --ultra --long=31` makes them; Reddit's dumps are packed so.
TEST_F(DocumentReaderTest, ZstdMayHaveTheLongestWindow) {
  EXPECT_THAT(read(write("a.jsonl.zst", zstd_long(two_lines, 31))), two_documents);
}

TEST_F(DocumentReaderTest, ALineThatIsNestedDeeplyIsBad) {
  std::string text;
  const auto problem = read_text_field("{\"a\":" + std::string(1'000'000, '['), text);
  ASSERT_TRUE(problem);
  EXPECT_THAT(problem->cause, HasSubstr("nested more than 512"));
  const std::string deep = std::string(400, '[') + std::string(400, ']');
  EXPECT_FALSE(read_text_field("{\"a\":" + deep + ",\"text\":\"x\"}", text));
  EXPECT_EQ(text, "x");
}

}  // namespace
}  // namespace sisa::data
