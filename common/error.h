// Errors that tell a user what to do, and the exit statuses that go with them.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace sisa {
namespace common {

// What the process returns to the shell. A run that a signal stopped after a save returns 128 + the signal's
// number instead.
enum ExitStatus : int { success = 0, failure = 1, users_mistake = 2, try_again = 75 };

// A mistake that the user can correct. The text says in whole sentences what was found, what was expected,
// where, and what to do next. `main` prints it once and exits with `status`. Broken invariants of our own use
// TORCH_INTERNAL_ASSERT instead.
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
