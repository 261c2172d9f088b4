#include "launcher/command_line.h"

#include <c10/util/Exception.h>  // TORCH_INTERNAL_ASSERT
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/text.h"
#include "launcher/commands/options.h"
#include "launcher/run/version.h"

namespace sisa::launcher {
namespace {

// The first word of commands that have two, such as "checkpoint diff".
struct Group {
  std::string_view name, description;
};
constexpr std::array groups = {
    Group{"data", "Prepare and look at training text"},
    Group{"checkpoint", "List, verify, compare, remove, export and import checkpoints, or look into them"}};

// The subcommand that holds the group's commands; made when the first of them asks for it.
CLI::App& find_or_add_group(CLI::App& program, const std::string& name) {
  const auto is_it = [&](const CLI::App* app) { return app->get_name() == name; };
  if (const auto found = program.get_subcommands(is_it); !found.empty()) return *found.front();
  const Group* group =
      std::find_if(groups.begin(), groups.end(), [&](const Group& each) { return each.name == name; });
  TORCH_INTERNAL_ASSERT(group != groups.end(), "there is no group of commands called ", name);
  CLI::App& app = *program.add_subcommand(name, std::string(group->description));
  app.require_subcommand(1);
  return app;
}

template <typename Arguments>
void add_command(CLI::App& program, std::optional<Command>& chosen) {
  const std::vector<std::string> words = common::split(Arguments::name, ' ');
  CLI::App& parent = words.size() == 1 ? program : find_or_add_group(program, words.front());
  CLI::App& app = *parent.add_subcommand(words.back());
  // CLI11 writes into the arguments while it reads, and at the end calls back for the chosen command.
  const auto arguments = std::make_shared<Arguments>();
  Options options(app);
  add_options(options, *arguments);
  app.final_callback([arguments, &chosen] { chosen = *arguments; });
}

template <typename... Arguments>
void add_commands(CLI::App& program, std::optional<std::variant<Arguments...>>& chosen) {
  (add_command<Arguments>(program, chosen), ...);
}

// What is wrong, and whose help says more.
std::string describe(const CLI::ParseError& error, const CLI::App& program) {
  const CLI::App* app = &program;
  std::string name = "sisa", what = error.what();
  while (!app->get_subcommands().empty()) name += " " + (app = app->get_subcommands().front())->get_name();
  std::vector<std::string> commands;
  for (const CLI::App* command : app->get_subcommands(nullptr)) commands.push_back(command->get_name());
  // CLI11 would say that a command is missing, and not that this one is unknown.
  if (const auto rest = app->remaining(); !commands.empty() && !rest.empty()) {
    const std::string near = common::nearest(rest.front(), commands);
    what = fmt::format("There is no command '{}'; {}", rest.front(),
                       near.empty() ? "the commands are " + common::join_choices(commands)
                                    : fmt::format("did you mean '{}'?", near));
  }
  return fmt::format("{}\nSee `{} --help`.\n", what, name);
}

CommandLine parse(int argc, const char* const* argv) {
  CLI::App program("Trains language models of state-space-augmented attention on one or many processes.",
                   "sisa");
  program.set_version_flag("--version", version_text, "Show the commit and the versions of the libraries");
  program.require_subcommand(1);
  program.footer(
      "Exit status: 0 success; 1 failure; 2 a mistake in what was asked; 75 try again; 128 + signal after a "
      "save.");
  std::optional<Command> chosen;
  add_commands(program, chosen);
  try {
    program.parse(argc, argv);
    return {.command = std::move(chosen)};
  } catch (const CLI::CallForHelp&) {
    return {.text = program.help()};
  } catch (const CLI::CallForVersion& version) {
    return {.text = version.what()};
  } catch (const CLI::ParseError& error) {
    return {.text = describe(error, program), .status = common::users_mistake};
  }
}

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  CommandLine line = parse(argc, argv);
  line.typed = fmt::format("sisa {}", fmt::join(argv + 1, argv + argc, " "));
  return line;
}

}  // namespace sisa::launcher
