#include "common/file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

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

std::string text_of(const InputFile& file) {
  std::string text(static_cast<size_t>(file.size()), '?');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
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

TEST_F(FileTest, RefusesWhatIsNoRegularFileWithoutWaiting) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::string name = folder_ / "socket";
  ASSERT_LT(name.size(), sizeof address.sun_path);
  std::copy(name.begin(), name.end(), address.sun_path);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  for (const auto& [path, kind] : std::vector<std::pair<fs::path, std::string>>{
           {folder_ / "pipe", "a pipe"}, {"/dev/zero", "a device"}, {folder_, "a folder"}}) {
    EXPECT_THAT([&] { read_file(path); }, ThrowsMessage<Error>(AllOf(HasSubstr(path), HasSubstr(kind))));
    EXPECT_THAT([&] { InputFile{path}; }, ThrowsMessage<Error>(AllOf(HasSubstr(path), HasSubstr(kind))));
    EXPECT_EQ(special_kind(path), kind);
  }
  EXPECT_THAT([&] { read_file(name); }, ThrowsMessage<Error>(HasSubstr("socket")));
  EXPECT_EQ(special_kind(name), "a socket");
  EXPECT_EQ(special_kind(folder_ / "absent"), "");
  ::close(socket);
}

TEST_F(FileTest, ReadsNoMoreThanItIsAllowed) {
  write_file_atomically(folder_ / "file", "12345");
  EXPECT_EQ(read_file(folder_ / "file", 5), "12345");
  EXPECT_THAT([&] { read_file(folder_ / "file", 4); }, ThrowsMessage<Error>(HasSubstr("more than 4 bytes")));
  fs::resize_file(folder_ / "file", uintmax_t{1} << 40);  // takes no space on the disk
  EXPECT_THAT([&] { read_file(folder_ / "file"); }, ThrowsMessage<Error>(HasSubstr("more than 67,108,864")));
  EXPECT_GT(read_file("/proc/self/status").size(), 100u);  // says that its size is 0
}

TEST_F(FileTest, OpensAFileForReading) {
  write_file_atomically(folder_ / "file", "opened");
  InputFile file(folder_ / "file");
  EXPECT_EQ(text_of(file), "opened");
  InputFile moved = std::move(file);
  InputFile assigned;
  EXPECT_EQ(assigned.size(), 0);
  assigned = std::move(moved);
  EXPECT_EQ(text_of(assigned), "opened");
  EXPECT_EQ(assigned.at<char>(2), 'e');
  std::string parts;
  assigned.for_each_part(1, 5, 2, [&](std::span<const std::byte> part) {
    parts += std::string(reinterpret_cast<const char*>(part.data()), part.size()) + "|";
  });
  EXPECT_EQ(parts, "pe|ne|d|");
  fs::remove(folder_ / "file");
  EXPECT_EQ(text_of(assigned), "opened");  // an open file outlives its name
}

TEST_F(FileTest, OpensAnEmptyFileAndRefusesAnAbsentOne) {
  write_file_atomically(folder_ / "empty", "");
  EXPECT_EQ(InputFile(folder_ / "empty").size(), 0);
  EXPECT_THAT([&] { InputFile(folder_ / "absent"); }, ThrowsMessage<SystemError>(HasSubstr("absent")));
}

// A mapping would end the process here.
TEST_F(FileTest, AFileThatIsCutOffWhileItIsOpenIsAnError) {
  write_file_atomically(folder_ / "file", std::string(100'000, 'x'));
  const InputFile file(folder_ / "file");
  fs::resize_file(folder_ / "file", 50'000);
  EXPECT_THAT([&] { text_of(file); },
              ThrowsMessage<SystemError>(AllOf(HasSubstr("50,000"), HasSubstr("cut off"))));
  EXPECT_EQ(file.at<char>(49'999), 'x');
}

// As a dataset of many files does.
TEST_F(FileTest, OpensMoreFilesThanAProcessMayByDefault) {
  write_file_atomically(folder_ / "file", "x");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 64;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  {
    std::vector<InputFile> files;
    for (int i = 0; i < 100; ++i) EXPECT_EQ(text_of(files.emplace_back(folder_ / "file")), "x");
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
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
