#include "common/file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "common/error.h"

namespace sisa::common {
namespace {
namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

// A new folder that is removed after the test.
class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string pattern = (fs::temp_directory_path() / "sisa-file-test-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FileTest() override { fs::remove_all(folder_); }

  size_t num_entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST_F(FileTest, ReadsWhatWasWritten) {
  const std::string content = std::string("a\0b\r\n", 5) + std::string(200'000, 'x');
  write_file_atomically(folder_ / "file", content);
  EXPECT_EQ(read_file(folder_ / "file"), content);
  write_file_atomically(folder_ / "file", "");
  EXPECT_EQ(read_file(folder_ / "file"), "");
}

TEST_F(FileTest, ReplacesAFileWithoutLeavingAnother) {
  write_file_atomically(folder_ / "file", "old and longer");
  write_file_atomically(folder_ / "file", "new");
  EXPECT_EQ(read_file(folder_ / "file"), "new");
  EXPECT_EQ(num_entries(), 1u);
}

TEST_F(FileTest, WritesIntoTheWorkingFolder) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  write_file_atomically("file", "content");
  fs::current_path(before);
  EXPECT_EQ(read_file(folder_ / "file"), "content");
}

TEST_F(FileTest, LeavesNothingBehindWhenWritingFails) {
  fs::create_directory(folder_ / "in-the-way");
  EXPECT_THAT([&] { write_file_atomically(folder_ / "in-the-way", "x"); },
              ThrowsMessage<SystemError>(AllOf(HasSubstr("cannot rename"), HasSubstr("in-the-way"))));
  EXPECT_EQ(num_entries(), 1u);
  EXPECT_THAT([&] { write_file_atomically(folder_ / "absent" / "file", "x"); },
              ThrowsMessage<SystemError>(AllOf(HasSubstr("absent"), HasSubstr("No such file"))));
}

TEST_F(FileTest, AFullDiskIsReportedAndTheOldFileKept) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  // The name of the temporary file is known, so that a link can make it a device that is always full.
  write_file_atomically(folder_ / "file", "old");
  fs::create_symlink("/dev/full", folder_ / fmt::format("file.tmp-{}", ::getpid()));
  EXPECT_THAT([&] { write_file_atomically(folder_ / "file", "new"); },
              ThrowsMessage<SystemError>(AllOf(HasSubstr("cannot write"), HasSubstr("No space left"))));
  EXPECT_EQ(read_file(folder_ / "file"), "old");
  EXPECT_EQ(num_entries(), 1u);
}

TEST_F(FileTest, ReadingSaysWhyItFailed) {
  EXPECT_THAT([&] { read_file(folder_ / "absent"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("absent"), HasSubstr("no such file"))));
  EXPECT_THAT([&] { read_file(folder_); }, ThrowsMessage<Error>(HasSubstr("is a folder")));
  EXPECT_THAT([&] { read_file(folder_ / std::string(300, 'n')); },
              ThrowsMessage<Error>(HasSubstr("File name too long")));
  EXPECT_THAT([] { read_file("/proc/self/mem"); }, ThrowsMessage<SystemError>(HasSubstr("cannot read")));
  if (::geteuid() != 0) {  // root may read anything
    write_file_atomically(folder_ / "secret", "x");
    fs::permissions(folder_ / "secret", fs::perms::none);
    EXPECT_THAT([&] { read_file(folder_ / "secret"); }, ThrowsMessage<Error>(HasSubstr("no permission")));
  }
}

TEST_F(FileTest, CreatesNestedFoldersOrSaysWhatIsInTheWay) {
  common::create_directories(folder_ / "a" / "b");
  common::create_directories(folder_ / "a" / "b");
  EXPECT_TRUE(fs::is_directory(folder_ / "a" / "b"));
  write_file_atomically(folder_ / "file", "");
  for (const fs::path& path : {folder_ / "file", folder_ / "file" / "below"})
    EXPECT_THAT([&] { common::create_directories(path); },
                ThrowsMessage<Error>(AllOf(HasSubstr(path.string()), HasSubstr("Choose a folder"))));
}

TEST_F(FileTest, MapsAFile) {
  write_file_atomically(folder_ / "file", "mapped");
  MappedFile file(folder_ / "file");
  EXPECT_EQ(text_of(file), "mapped");
  MappedFile moved = std::move(file);
  EXPECT_EQ(text_of(moved), "mapped");
  MappedFile assigned;
  EXPECT_TRUE(assigned.bytes().empty());
  assigned = std::move(moved);
  EXPECT_EQ(text_of(assigned), "mapped");
  fs::remove(folder_ / "file");
  EXPECT_EQ(text_of(assigned), "mapped");  // the mapping outlives the name
}

TEST_F(FileTest, MapsAnEmptyFileAndRefusesAnAbsentOne) {
  write_file_atomically(folder_ / "empty", "");
  EXPECT_TRUE(MappedFile(folder_ / "empty").bytes().empty());
  EXPECT_THAT([&] { MappedFile(folder_ / "absent"); }, ThrowsMessage<SystemError>(HasSubstr("absent")));
}

TEST_F(FileTest, SyncsFilesAndFolders) {
  write_file_atomically(folder_ / "file", "x");
  sync_file(folder_ / "file");
  sync_file(folder_);
  EXPECT_THAT([&] { sync_file(folder_ / "absent"); }, ThrowsMessage<SystemError>(HasSubstr("absent")));
}

TEST(ErrorTest, CarriesItsExitStatus) {
  EXPECT_EQ(Error("mistake").status(), users_mistake);
  EXPECT_EQ(Error("later", try_again).status(), try_again);
  EXPECT_EQ(SystemError("machine").status(), failure);
  EXPECT_STREQ(Error("{} of {}", 1, "two").what(), "1 of two");
  EXPECT_STREQ(Error("braces {} alone are text").what(), "braces {} alone are text");
}

}  // namespace
}  // namespace sisa::common
