#include "data/tokens/token_file.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "common/hash.h"
#include "tests/data/data_folder.h"

namespace sisa::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class TokenFileTest : public DataFolder {
 protected:
  // A valid file, and ways to damage it.
  fs::path damaged(const std::function<void(std::string&)>& damage, bool mend_header = false) {
    const fs::path path = folder / "damaged.bin";
    write_token_file(path, 300, count_up(0, 100));
    std::string bytes = common::read_file(path);
    damage(bytes);
    if (mend_header) {
      const uint64_t hash = common::hash64(std::string_view(bytes).substr(0, 56));
      std::memcpy(bytes.data() + 56, &hash, sizeof hash);
    }
    return write("damaged.bin", bytes);
  }
  static std::string opening(const fs::path& path) {
    return refusal([&] { TokenFile file(path); });
  }
};

TEST_F(TokenFileTest, HoldsWhatWasWritten) {
  for (const int64_t vocab_size : {257, 65536, 65537, 1 << 20}) {
    const auto last = static_cast<uint32_t>(vocab_size - 1);
    std::vector<uint32_t> ids = count_up(0, 10'000);  // more than the writer narrows at a time
    for (uint32_t& id : ids) id = (id * 7919) % static_cast<uint32_t>(vocab_size);
    const fs::path path = folder / "file.bin";
    {
      TokenFileWriter writer(path, vocab_size);
      writer.append(ids);
      writer.append({});
      writer.append(std::vector{last});
      writer.count(2, 12'345);
      EXPECT_FALSE(fs::exists(path));
      EXPECT_EQ(writer.finish(), writer.info());
    }
    ids.push_back(last);
    const TokenFile file(path);
    EXPECT_EQ(file.info().bytes_per_token(), vocab_size <= 65536 ? 2 : 4);
    EXPECT_EQ(fs::file_size(path), 64 + ids.size() * (vocab_size <= 65536 ? 2 : 4));
    EXPECT_EQ(file.info().vocab_size, vocab_size);
    EXPECT_EQ(file.info().tokens, 10'001);
    EXPECT_EQ(file.info().documents, 2);
    EXPECT_EQ(file.info().text_bytes, 12'345);
    std::vector<int64_t> read(ids.size());
    file.ids().read(0, read, vocab_size);
    EXPECT_TRUE(std::equal(read.begin(), read.end(), ids.begin(), ids.end()));
    std::vector<int64_t> part(3);
    file.ids().read(9'998, part, vocab_size);
    EXPECT_THAT(part, testing::ElementsAre(ids[9'998], ids[9'999], last));
    verify(file.ids(), file.info());
    EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1);
    fs::remove(path);
  }
}

TEST_F(TokenFileTest, LiesInTheFileAsDocumented) {
  write_token_file(folder / "file.bin", 300, {1, 258});
  const std::string bytes = common::read_file(folder / "file.bin");
  ASSERT_EQ(bytes.size(), 68u);
  EXPECT_EQ(bytes.substr(0, 8), "SISATOK\n");
  EXPECT_EQ(bytes.substr(8, 8), std::string("\1\0\0\0\2\0\0\0", 8));
  EXPECT_EQ(bytes.substr(16, 8), std::string("\x2C\1\0\0\0\0\0\0", 8));
  EXPECT_EQ(bytes.substr(24, 8), std::string("\2\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(bytes.substr(64), std::string("\1\0\2\1", 4));
}

TEST_F(TokenFileTest, LeavesNothingWithoutFinish) {
  { TokenFileWriter(folder / "file.bin", 300).append(count_up(0, 10)); }
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(TokenFileTest, WriterRefusesWhatItCannotWrite) {
  EXPECT_THAT(refusal([] { TokenFileWriter("/proc/file.bin", 300); }),
              AllOf(HasSubstr("/proc/file.bin"), HasSubstr("Choose an output folder")));
  fs::create_directory(folder / "file.bin");
  EXPECT_THAT(refusal([&] { write_token_file(folder / "file.bin", 300, {1}); }), HasSubstr("cannot rename"));
  EXPECT_THROW(TokenFileWriter(folder / "other.bin", 300).append(std::vector<uint32_t>{300}), c10::Error);
}

TEST_F(TokenFileTest, AFullDiskIsReported) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  fs::create_symlink("/dev/full", folder / fmt::format("file.bin.tmp-{}", ::getpid()));
  EXPECT_THAT(refusal([&] { write_token_file(folder / "file.bin", 300, count_up(0, 300)); }),
              AllOf(HasSubstr("file.bin.tmp"), HasSubstr("No space left")));
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(TokenFileTest, OpeningNamesTheDamage) {
  EXPECT_THAT(opening(folder / "absent.bin"), HasSubstr("absent.bin"));
  EXPECT_THAT(opening(write("empty.bin", "")), AllOf(HasSubstr("empty.bin"), HasSubstr("0 bytes")));
  EXPECT_THAT(opening(damaged([](std::string& s) { s.resize(63); })), HasSubstr("63 bytes"));
  EXPECT_THAT(opening(damaged([](std::string& s) { s[0] = 'X'; })),
              AllOf(HasSubstr("damaged.bin"), HasSubstr("no token file"), HasSubstr("offset 0")));
  EXPECT_THAT(opening(damaged([](std::string& s) { s[8] = 9; })),
              AllOf(HasSubstr("version 9"), HasSubstr("offset 8")));
  EXPECT_THAT(opening(damaged([](std::string& s) { s[33] = 1; })),
              AllOf(HasSubstr("header"), HasSubstr("offset 56")));
  EXPECT_THAT(opening(damaged([](std::string& s) { s[12] = 4; }, true)),
              AllOf(HasSubstr("4 bytes a token"), HasSubstr("offset 12"), HasSubstr("takes 2")));
  EXPECT_THAT(opening(damaged([](std::string& s) { s.resize(s.size() - 1); })),
              AllOf(HasSubstr("263 bytes"), HasSubstr("100 tokens"), HasSubstr("264 in all")));
  EXPECT_THAT(opening(damaged([](std::string& s) { s += "x"; })), HasSubstr("265 bytes"));
  // A number of tokens whose size in bytes, modulo 2^64, is 200 again.
  EXPECT_THAT(opening(damaged([](std::string& s) { s[31] = '\x80'; }, true)), HasSubstr("264 bytes"));
}

TEST_F(TokenFileTest, DamagedTokensAreFound) {
  const TokenFile changed(damaged([](std::string& s) { s[64 + 20] = 99; }));
  EXPECT_THAT(refusal([&] { verify(changed.ids(), changed.info()); }),
              AllOf(HasSubstr("damaged.bin"), HasSubstr("checksum"), HasSubstr("offset 48")));
  const TokenFile outside(damaged([](std::string& s) { s[64 + 21] = 7; }));  // token 10 becomes 7 * 256 + 10
  std::vector<int64_t> ids(10);
  outside.ids().read(0, ids, 300);
  for (const std::string& text : {refusal([&] { outside.ids().read(5, ids, 300); }),
                                  refusal([&] { verify(outside.ids(), outside.info()); })})
    EXPECT_THAT(text, AllOf(HasSubstr("damaged.bin"), HasSubstr("1802"), HasSubstr("offset 84"),
                            HasSubstr("vocabulary of 300")));
}

// While it is used; a mapping would end the process (SIGBUS).
TEST_F(TokenFileTest, AFileThatIsCutOffMeanwhileIsAnError) {
  const fs::path path = folder / "file.bin";
  write_token_file(path, 300, std::vector<uint32_t>(100'000, 7));
  const TokenFile file(path);
  std::vector<int64_t> ids(10);
  fs::resize_file(path, 64 + 2 * 50'000);
  file.ids().read(49'990, ids, 300);
  const auto cut_off = testing::ThrowsMessage<SystemError>(AllOf(HasSubstr(path), HasSubstr("cut off")));
  EXPECT_THAT([&] { file.ids().read(49'991, ids, 300); }, cut_off);
  EXPECT_THAT([&] { file.ids().largest(0, 100'000, 300); }, cut_off);
  EXPECT_THAT([&] { file.ids().count(7); }, cut_off);
  EXPECT_THAT([&] { verify(file.ids(), file.info()); }, cut_off);
}

}  // namespace
}  // namespace sisa::data
