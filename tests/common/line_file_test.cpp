#include "common/line_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/error.h"
#include "common/file.h"

namespace sisa::common {
namespace {

class LineFileTest : public testing::Test {
 protected:
  LineFileTest() {
    std::string name = (std::filesystem::temp_directory_path() / "sisa-lines-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "lines";
  }
  ~LineFileTest() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_, path_;
};

TEST_F(LineFileTest, GoesOnAfterWholeLines) {
  EXPECT_EQ(LineFile(path_).append("a"), 0);
  LineFile file(path_);
  EXPECT_EQ(read_file(path_), "a\n");
  EXPECT_EQ(file.append("b"), 0);
  EXPECT_EQ(file.append(""), 0);
  EXPECT_EQ(read_file(path_), "a\nb\n\n");
}

TEST_F(LineFileTest, ATornLineIsCutOff) {
  for (const size_t length : {1, 4095, 4096, 4097, 20000}) {
    std::ofstream(path_) << "whole\n" << std::string(length, 'x');
    EXPECT_EQ(LineFile(path_).append("next"), 0);
    EXPECT_EQ(read_file(path_), "whole\nnext\n") << length;
    std::ofstream(path_) << std::string(length, 'x');
    EXPECT_EQ(LineFile(path_).append("next"), 0);
    EXPECT_EQ(read_file(path_), "next\n") << length;
  }
}

// A limit on the size of files acts like a full disk: the last write is incomplete.
TEST_F(LineFileTest, ALineThatDoesNotFitLeavesNothing) {
  LineFile file(path_);
  EXPECT_EQ(file.append("0123456789"), 0);
  rlimit former{};
  ::getrlimit(RLIMIT_FSIZE, &former);
  const rlimit tight{15, former.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &tight);
  const int error = file.append("0123456789");
  ::setrlimit(RLIMIT_FSIZE, &former);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(error, EFBIG);
  EXPECT_EQ(read_file(path_), "0123456789\n");
  EXPECT_EQ(file.append("more"), 0);
  EXPECT_EQ(read_file(path_), "0123456789\nmore\n");
}

TEST_F(LineFileTest, AFileThatCannotBeMadeIsAnError) {
  EXPECT_THROW(LineFile(folder_ / "absent" / "lines"), SystemError);
}

}  // namespace
}  // namespace sisa::common
