// The command line, read into a command's arguments. Needs no MPI.
#pragma once

#include <optional>
#include <string>

#include "common/error.h"
#include "launcher/commands/commands.h"

namespace sisa::launcher {

struct CommandLine {
  // Absent: there is only `text` to print, and the program ends with `status`.
  std::optional<Command> command;
  std::string text;  // help or version; or what is wrong, if status is not 0
  int status = common::success;
  std::string typed;  // the whole line, for messages: "sisa plan recipe.yaml"
};

CommandLine parse_command_line(int argc, const char* const* argv);

}  // namespace sisa::launcher
