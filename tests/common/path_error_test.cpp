#include "common/path_error.h"

#include <gtest/gtest.h>

#include <string>

namespace sisa::common {
namespace {

namespace fs = std::filesystem;

Error error_of(const fs::path& path) {
  try {
    static_cast<void>(fs::file_size(path));
  } catch (const fs::filesystem_error& error) {
    return path_error(error);
  }
  return Error("nothing was thrown");
}

TEST(PathError, NamesPathAndCauseAndNoLibrary) {
  const Error absent = error_of("/nothing/there");
  EXPECT_STREQ(absent.what(),
               "The path /nothing/there cannot be used: No such file or directory. Name another one.");
  EXPECT_EQ(absent.status(), users_mistake);
  const Error large = error_of(std::string(5000, 'x'));
  EXPECT_EQ(std::string(large.what()).find("filesystem error"), std::string::npos);
  EXPECT_NE(std::string(large.what()).find("File name too long"), std::string::npos);
  EXPECT_EQ(large.status(), users_mistake);
}

TEST(PathError, ADiskThatFailsIsNoMistakeOfTheUsers) {
  const fs::filesystem_error broken("status", "a", std::make_error_code(std::errc::io_error));
  EXPECT_EQ(path_error(broken).status(), failure);
}

}  // namespace
}  // namespace sisa::common
