#include "common/error.h"

#include <cerrno>
#include <cstring>

namespace sisa::common {

SystemError SystemError::with_errno(const std::string& what) {
  return SystemError(fmt::format("{}: {}", what, std::strerror(errno)));
}

}  // namespace sisa::common
