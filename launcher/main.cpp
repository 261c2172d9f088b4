// The program: reads the command line, opens the world, runs the command and reports what went wrong, once.
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <variant>

#include "common/error.h"
#include "launcher/command_line.h"
#include "launcher/commands/commands.h"
#include "parallel/world.h"

namespace sisa::launcher {
namespace {

// Whether a launcher started this process as one of several, whose messages would otherwise pile up.
bool started_as_a_rank() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (std::getenv(variable) != nullptr) return true;
  return false;
}

int print(const CommandLine& line) {
  fmt::print(line.status == common::success ? stdout : stderr, "{}", line.text);
  return line.status;
}

// An exception that other ranks do not know of: they may wait for this one for ever.
int fail_alone(const parallel::World& world, const std::string& text, int status) {
  if (world.size() == 1) {
    fmt::print(stderr, "{}\n", text);
    return status;
  }
  fmt::print(stderr, "Rank {} ({}): {}\n", world.rank(), world.host(), text);
  std::fflush(nullptr);
  world.abort(status);
}

int fail_out_of_memory(const parallel::World& world, const Command& command, std::string found) {
  found.erase(found.find_last_not_of(". \n") + 1);
  const char* advice =
      std::visit([](const auto& arguments) { return out_of_memory_advice(arguments); }, command);
  return fail_alone(world, fmt::format("Memory ran out: {}. {}", found, advice), common::failure);
}

int run_and_report(const Command& command, const parallel::World& world) {
  try {
    return std::visit([&](const auto& arguments) { return run(arguments, world); }, command);
  } catch (const parallel::SharedError& error) {
    if (world.is_root()) fmt::print(stderr, "{}\n", error.what());
    return error.status();
  } catch (const Error& error) {
    return fail_alone(world, error.what(), error.status());
  } catch (const std::bad_alloc&) {
    return fail_out_of_memory(world, command, "an allocation of this machine's failed");
  } catch (const c10::OutOfMemoryError& error) {  // a GPU's
    return fail_out_of_memory(world, command, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    const size_t cpu = text.find("DefaultCPUAllocator");  // whose failure has no type of its own
    if (cpu != std::string::npos) return fail_out_of_memory(world, command, text.substr(cpu));
    return fail_alone(world, fmt::format("Internal error, please report it: {}", text), common::failure);
  } catch (const std::exception& error) {
    return fail_alone(world, fmt::format("Internal error, please report it: {}", error.what()),
                      common::failure);
  }
}

}  // namespace
}  // namespace sisa::launcher

int main(int argc, char** argv) {
  using namespace sisa::launcher;
  std::ios::sync_with_stdio(false);  // `data encode` asks whether more of standard input is there
  try {
    const CommandLine line = parse_command_line(argc, argv);
    if (!line.command && !started_as_a_rank()) return print(line);
    // Its destructor lets all ranks meet before any returns: the first to end with an error would have the
    // others killed.
    const sisa::parallel::World world;
    if (line.command) return run_and_report(*line.command, world);
    return world.is_root() ? print(line) : line.status;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return sisa::common::failure;
  }
}
