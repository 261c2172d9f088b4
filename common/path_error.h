// The standard library's complaints about paths, as sentences.
#pragma once

#include <filesystem>

#include "common/error.h"

namespace sisa::common {

// Says which path cannot be used and why; a user's mistake where the path itself is at fault (too long, not
// there, no permission), a SystemError's status otherwise.
Error path_error(const std::filesystem::filesystem_error& error);

}  // namespace sisa::common
