// The program: reads the command line, opens the world, sees that all ranks were started alike, runs the
// command and reports what went wrong, once.
#include <c10/util/Exception.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <string>
#include <variant>

#include "common/error.h"
#include "common/path_error.h"
#include "launcher/command_line.h"
#include "launcher/commands/commands.h"
#include "launcher/run/agreement.h"
#include "parallel/world.h"

namespace sisa::launcher {
namespace {

// Whether a launcher started this process as one of several, whose messages would otherwise pile up.
bool started_as_a_rank() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (std::getenv(variable) != nullptr) return true;
  return false;
}

// The message with what is too long to be read cut short: a path or a value of thousands of characters.
std::string readable(const std::string& message) {
  constexpr size_t most = 400, shown = 150;  // characters of a word
  std::string text;
  for (size_t at = 0; at < message.size();) {
    const size_t end = std::min(message.find_first_of(" \n", at), message.size());
    if (end - at > most)
      text += fmt::format("{}…({} characters)…{}", message.substr(at, shown), end - at,
                          message.substr(end - shown, shown));
    else
      text += message.substr(at, end - at);
    if (end < message.size()) text += message[end];
    at = end + 1;
  }
  return text;
}

int print(const CommandLine& line) {
  if (line.status == common::success)
    fmt::print("{}", line.text);
  else
    fmt::print(stderr, "{}", readable(line.text));
  return line.status;
}

// An exception that other ranks do not know of: they may wait for this one for ever.
int fail_alone(const parallel::World& world, const std::string& text, int status) {
  if (world.size() == 1) {
    fmt::print(stderr, "{}\n", readable(text));
    return status;
  }
  fmt::print(stderr, "Rank {} ({}): {}\n", world.rank(), world.host(), readable(text));
  std::fflush(nullptr);
  world.abort(status);
}

int fail_out_of_memory(const parallel::World& world, const CommandLine& line, std::string found) {
  found.erase(found.find_last_not_of(". \n") + 1);
  const char* advice =
      line.command
          ? std::visit([](const auto& arguments) { return out_of_memory_advice(arguments); }, *line.command)
          : "";
  return fail_alone(world, fmt::format("Memory ran out: {}. {}", found, advice), common::failure);
}

// What all ranks must be alike in before any of them does something that the others have a part in.
Facts facts_of(const CommandLine& line) {
  Facts facts = {program_fact()};
  if (!line.command) {
    facts.push_back({"the command line", "`" + line.typed + "`"});
    return facts;
  }
  const Facts more = std::visit(
      [&](const auto& arguments) { return facts_to_agree_on(arguments, line.typed); }, *line.command);
  facts.insert(facts.end(), more.begin(), more.end());
  return facts;
}

int run_and_report(const CommandLine& line, const parallel::World& world) {
  try {
    require_agreement(world, facts_of(line),
                      "Start every rank with the same program, the same command and the same options.");
    if (!line.command) return world.is_root() ? print(line) : line.status;
    return std::visit([&](const auto& arguments) { return run(arguments, world); }, *line.command);
  } catch (const parallel::SharedError& error) {
    if (world.is_root()) fmt::print(stderr, "{}\n", readable(error.what()));
    return error.status();
  } catch (const Error& error) {
    return fail_alone(world, error.what(), error.status());
  } catch (const std::filesystem::filesystem_error& error) {
    const Error shown = common::path_error(error);
    return fail_alone(world, shown.what(), shown.status());
  } catch (const std::bad_alloc&) {
    return fail_out_of_memory(world, line, "an allocation of this machine's failed");
  } catch (const c10::OutOfMemoryError& error) {  // a GPU's
    return fail_out_of_memory(world, line, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    const size_t cpu = text.find("DefaultCPUAllocator");  // whose failure has no type of its own
    if (cpu != std::string::npos) return fail_out_of_memory(world, line, text.substr(cpu));
    return fail_alone(world, fmt::format("Internal error, please report it: {}", text), common::failure);
  } catch (const std::exception& error) {
    if (std::ferror(stdout) != 0)  // fmt::print says that it cannot write; finish_output says more
      return world.size() == 1 ? static_cast<int>(common::failure)
                               : fail_alone(world, error.what(), common::failure);
    return fail_alone(world, fmt::format("Internal error, please report it: {}", error.what()),
                      common::failure);
  }
}

// A program that is started with standard input, output or error closed (`>&-`) is given that number for the
// first file that it opens, and would print into it. /dev/null takes the place instead: open for reading
// where the program writes, so that what is printed is found to be lost.
void occupy_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(descriptor, F_GETFD) < 0)
      ::open("/dev/null", descriptor == STDERR_FILENO ? O_WRONLY : O_RDONLY);
}

// Whether all that was printed got where standard output leads; a full disk may say no at the very end.
bool output_arrived() {
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  return std::fclose(stdout) == 0 && flushed;
}

// The status with which the process ends: a failure if what the command printed was lost.
int finish_output(int status, bool prints_only_progress) {
  if (output_arrived()) return status;
  const char* const cause = errno == 0 ? "the device is full or was closed" : std::strerror(errno);
  if (prints_only_progress) {
    fmt::print(
        stderr,
        "WARNING: Standard output could not be written ({}), so lines of it are missing. Training did not "
        "need it: metrics.jsonl in the run's folder has the same numbers.\n",
        cause);
    return status;
  }
  fmt::print(
      stderr,
      "Standard output could not be written ({}), so what this command prints is not complete. Make room, "
      "or direct the output elsewhere.\n",
      cause);
  return status == common::success ? static_cast<int>(common::failure) : status;
}

int run_program(const CommandLine& line) {
  try {
    if (!line.command && !started_as_a_rank()) return print(line);
    // Its destructor lets all ranks meet before any returns: the first to end with an error would have the
    // others killed.
    const parallel::World world;
    return run_and_report(line, world);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", readable(error.what()));
    return common::failure;
  }
}

}  // namespace
}  // namespace sisa::launcher

int main(int argc, char** argv) {
  using namespace sisa::launcher;
  std::ios::sync_with_stdio(false);  // `data encode` asks whether more of standard input is there
  occupy_standard_descriptors();
  try {
    const CommandLine line = parse_command_line(argc, argv);
    const bool trains = line.command && std::holds_alternative<TrainArguments>(*line.command);
    return finish_output(run_program(line), trains);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return sisa::common::failure;
  }
}
