#include "common/path_error.h"

#include <algorithm>
#include <array>
#include <string>

namespace sisa::common {

Error path_error(const std::filesystem::filesystem_error& error) {
  std::string paths = error.path1().string();
  if (!error.path2().empty()) paths += " (and " + error.path2().string() + ")";
  constexpr std::array at_fault = {
      std::errc::filename_too_long, std::errc::no_such_file_or_directory,     std::errc::not_a_directory,
      std::errc::permission_denied, std::errc::too_many_symbolic_link_levels, std::errc::is_a_directory};
  const bool users = std::any_of(at_fault.begin(), at_fault.end(),
                                 [&](const std::errc cause) { return error.code() == cause; });
  return Error(
      fmt::format("The path {} cannot be used: {}. Name another one.", paths, error.code().message()),
      users ? users_mistake : failure);
}

}  // namespace sisa::common
