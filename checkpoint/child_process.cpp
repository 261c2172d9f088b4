#include "checkpoint/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <exception>
#include <new>
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoint/damage.h"
#include "common/error.h"

namespace sisa::checkpoint {
namespace {

// The first byte of an answer.
constexpr char result_mark = 'r', error_mark = 'e';

// Lowers a limit of this process; never raises one.
template <typename Resource>
void limit(Resource resource, int64_t most) {
  rlimit now{};
  if (::getrlimit(resource, &now) != 0) return;
  now.rlim_cur = std::min(now.rlim_cur, static_cast<rlim_t>(most));
  ::setrlimit(resource, &now);
}

// The address space that this process has, in bytes; -1 if that cannot be learnt.
int64_t address_space() {
  std::array<char, 64> text{};
  const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  const ssize_t n = ::read(file, text.data(), text.size() - 1);
  ::close(file);
  long long pages = 0;
  if (n <= 0 || std::sscanf(text.data(), "%lld", &pages) != 1) return -1;
  return static_cast<int64_t>(pages) * ::sysconf(_SC_PAGESIZE);
}

void write_all(int descriptor, const std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(descriptor, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    done += static_cast<size_t>(n);
  }
}

[[noreturn]] void be_the_child(int descriptor, const std::function<std::string()>& work,
                               const ChildLimits& limits) {
  ::prctl(PR_SET_PDEATHSIG,
          SIGKILL);  // it shares the lock of the run's folder, which must end with its parent
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, limits.seconds);
  if (const int64_t now = address_space(); now >= 0) limit(RLIMIT_AS, now + limits.memory);
  for (const int fault : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGXCPU}) ::signal(fault, SIG_DFL);
  std::string answer;
  try {
    answer = result_mark + work();
  } catch (const std::bad_alloc&) {
    answer = std::string(1, error_mark) + "reading it takes too much memory";
  } catch (const std::exception& error) {
    answer = error_mark + std::string(error.what());
  }
  write_all(descriptor, answer);
  ::_exit(0);
}

class Child {
 public:
  Child(const std::string& what, const std::function<std::string()>& work, const ChildLimits& limits) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
      throw SystemError::with_errno("Cannot make a pipe to read " + what);
    {
      const std::lock_guard lock(hdf5_in_use());
      process_ = ::fork();
    }
    if (process_ == 0) be_the_child(ends[1], work, limits);
    const int error = errno;
    ::close(ends[1]);
    answer_ = ends[0];
    if (process_ > 0) return;
    ::close(answer_);
    errno = error;
    throw SystemError::with_errno("Cannot start a process to read " + what);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    ::close(answer_);
    wait();
  }

  // Appends what the child writes to `answer`, until it ends or has written more than `most_bytes`. Returns
  // false if it has done neither by `deadline`.
  bool read(std::string& answer, int64_t most_bytes, std::chrono::steady_clock::time_point deadline) {
    std::array<char, 1 << 16> part;
    while (static_cast<int64_t>(answer.size()) <= most_bytes) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      pollfd end{answer_, POLLIN, 0};
      const int ready = ::poll(&end, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
      if (ready < 0 && errno == EINTR) continue;
      if (ready == 0) return false;
      const ssize_t n = ::read(answer_, part.data(), part.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      answer.append(part.data(), static_cast<size_t>(n));
    }
    return true;
  }

  // Ends the child if it runs still, and returns how it ended (waitpid).
  int wait() {
    if (process_ <= 0) return status_;
    ::kill(process_, SIGKILL);  // does nothing to one that has ended
    while (::waitpid(process_, &status_, 0) < 0 && errno == EINTR) {
    }
    process_ = 0;
    return status_;
  }

 private:
  pid_t process_ = 0;
  int answer_ = -1, status_ = 0;
};

}  // namespace

std::mutex& hdf5_in_use() {
  static std::mutex mutex;
  return mutex;
}

std::string in_child_process(const std::string& what, const std::function<std::string()>& work,
                             const ChildLimits& limits) {
  Child child(what, work, limits);
  std::string answer;
  if (!child.read(answer, limits.answer,
                  std::chrono::steady_clock::now() + std::chrono::seconds(limits.seconds_waited)))
    throw SystemError(fmt::format("Reading {} took more than {} s", what, limits.seconds_waited));
  if (static_cast<int64_t>(answer.size()) > limits.answer)
    throw Damage(fmt::format("{} is damaged: it holds more than {} bytes", what, limits.answer));
  if (answer.starts_with(result_mark)) return answer.substr(1);
  if (answer.starts_with(error_mark)) throw Damage(fmt::format("{}: {}", what, answer.substr(1)));
  const int status = child.wait();
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
    throw Damage(fmt::format("{} is damaged: HDF5 does not come to an end when it reads it", what));
  // Somebody else did that, such as a system that ran out of memory.
  if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM))
    throw SystemError(fmt::format("The process that read {} was killed", what));
  throw Damage(fmt::format("{} is damaged: HDF5 crashes when it reads it", what));
}

std::vector<std::string> texts_from_child_process(const std::string& what,
                                                  const std::function<std::vector<std::string>()>& work,
                                                  const ChildLimits& limits) {
  using nlohmann::json;
  const std::string answer = in_child_process(
      what,
      [&] {
        std::string cbor;
        json::to_cbor(json(work()), cbor);  // texts need not be UTF-8
        return cbor;
      },
      limits);
  try {
    return json::from_cbor(answer).get<std::vector<std::string>>();
  } catch (const json::exception& error) {  // HDF5 wrote over its memory
    throw Damage(fmt::format("{} is damaged: {}", what, error.what()));
  }
}

}  // namespace sisa::checkpoint
