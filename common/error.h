// Errors that a user can act upon, and the exit statuses that go with them.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace sisa {
namespace common {

// What the process returns to the shell. A save that a signal asked for ends with 128 + signal.
enum ExitStatus : int { success = 0, failure = 1, users_mistake = 2, try_again = 75 };

// A mistake that the user can mend. The text says what was found, what was expected, where, and what to do
// next, in whole sentences; `main` prints it once and exits with `status`. Our own broken invariants use
// TORCH_INTERNAL_ASSERT.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& text, ExitStatus status = users_mistake)
      : std::runtime_error(text), status_(status) {}
  template <typename... Arguments>
  explicit Error(fmt::format_string<Arguments...> format,
                 Arguments&&... arguments) requires(sizeof...(Arguments) > 0)
      : Error(fmt::format(format, std::forward<Arguments>(arguments)...)) {}
  ExitStatus status() const { return status_; }

 private:
  ExitStatus status_;
};

// A failure of the machine and not of the user (a full disk, a broken link): exit status 1.
class SystemError : public Error {
 public:
  explicit SystemError(const std::string& text) : Error(text, failure) {}
  // Appends the meaning of `errno` at the time of the call.
  static SystemError with_errno(const std::string& what);
};

}  // namespace common
using common::Error;
using common::SystemError;
}  // namespace sisa
