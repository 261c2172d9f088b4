#include "common/file_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "common/error.h"
#include "common/file.h"

namespace sisa::common {
namespace {

using testing::HasSubstr;
constexpr auto at_once = std::chrono::milliseconds(0);

class FileLockTest : public testing::Test {
 protected:
  FileLockTest() {
    std::string name = (std::filesystem::temp_directory_path() / "sisa-lock-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "lock";
  }
  ~FileLockTest() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_, path_;
};

TEST_F(FileLockTest, OneHoldsIt) {
  {
    const auto lock = FileLock::acquire(path_, at_once);
    ASSERT_TRUE(lock.has_value());
    EXPECT_THAT(FileLock::holder(path_), HasSubstr("process " + std::to_string(::getpid()) + " on "));
    EXPECT_FALSE(FileLock::acquire(path_, std::chrono::milliseconds(50)).has_value());
  }
  EXPECT_TRUE(FileLock::acquire(path_, at_once).has_value());
}

TEST_F(FileLockTest, ContentMayBeLeftAlone) {
  write_file_atomically(path_, "what the file is for\n");
  {
    const auto lock = FileLock::acquire(path_, at_once, FileLock::Content::left_alone);
    ASSERT_TRUE(lock.has_value());
    EXPECT_EQ(read_file(path_), "what the file is for\n");
    EXPECT_FALSE(FileLock::acquire(path_, at_once).has_value());
    EXPECT_EQ(read_file(path_), "what the file is for\n");
  }
  EXPECT_TRUE(FileLock::acquire(path_, at_once, FileLock::Content::left_alone).has_value());
}

TEST_F(FileLockTest, LookingLeavesEverythingAsItIs) {
  EXPECT_FALSE(FileLock::is_held(path_));
  EXPECT_FALSE(std::filesystem::exists(path_));
  {
    const auto lock = FileLock::acquire(path_, at_once);
    const std::string holder = read_file(path_);
    EXPECT_TRUE(FileLock::is_held(path_));
    EXPECT_EQ(read_file(path_), holder);
  }
  EXPECT_FALSE(FileLock::is_held(path_));
  EXPECT_TRUE(FileLock::acquire(path_, at_once).has_value());  // whoever looked does not hold it
  EXPECT_THROW(FileLock::is_held(path_ / "below a file"), SystemError);
}

TEST_F(FileLockTest, AKilledProcessLetsGo) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto lock = FileLock::acquire(path_, at_once);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_THAT(FileLock::holder(path_), HasSubstr("process " + std::to_string(child)));
  EXPECT_TRUE(FileLock::acquire(path_, at_once).has_value());
}

TEST_F(FileLockTest, AFileThatCannotBeMadeIsAnError) {
  try {
    FileLock::acquire(folder_ / "absent" / "lock", at_once);
    FAIL();
  } catch (const SystemError& error) {
    EXPECT_THAT(error.what(), HasSubstr("Cannot open " + (folder_ / "absent" / "lock").string()));
  }
}

}  // namespace
}  // namespace sisa::common
