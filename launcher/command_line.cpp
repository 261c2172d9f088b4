#include "launcher/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>

#include "common/text.h"
#include "launcher/version.h"

namespace sisa::launcher {
namespace {

// Marks what CLI11 finds as `command` when it was chosen.
template <typename Arguments>
Arguments& arguments_of(CLI::App& app, Command& command) {
  // The variant cannot hold all commands at once, so each keeps its arguments beside its options until it is
  // chosen.
  auto arguments = std::make_shared<Arguments>();
  app.final_callback([arguments, &command] { command = *arguments; });
  return *arguments;
}

// Reads an option's text by `read`, whose Error becomes CLI11's.
template <typename Read>
CLI::Option* add_read(CLI::App& app, const std::string& name, const std::string& doc, Read read) {
  return app.add_option_function<std::string>(
      name,
      [name, read](const std::string& text) {
        try {
          read(text);
        } catch (const Error& error) {
          throw CLI::ValidationError(name, error.what());
        }
      },
      doc);
}

void add_overrides(CLI::App& app, std::vector<std::string>& overrides) {
  app.add_option("--set", overrides, "override a key of the recipe; may be repeated")
      ->allow_extra_args(false)
      ->type_name("SECTION.KEY=VALUE");
}

// Of TrainArguments and PlanArguments.
void add_recipe(CLI::App& app, auto& arguments) {
  app.add_option("RECIPE", arguments.recipe, "recipe (docs/recipes.md)")->required()->type_name("FILE");
  app.add_option("--overlay", arguments.overlays,
                 "recipe whose keys win over RECIPE's, before --set; may be repeated")
      ->allow_extra_args(false)
      ->type_name("FILE");
  add_overrides(app, arguments.overrides);
}

void add_run(CLI::App& app, std::string& run) {
  app.add_option("RUN", run, "a run's folder, for its newest checkpoint, or FOLDER@STEP")
      ->required()
      ->type_name("RUN[@STEP]");
}

void add_train(CLI::App& program, Command& command) {
  CLI::App& app = *program.add_subcommand("train", "Train a model; start it with mpirun for several ranks");
  auto& arguments = arguments_of<TrainArguments>(app, command);
  add_recipe(app, arguments);
  app.add_option("--output", arguments.output, "the run's folder; wins over run.output of the recipe")
      ->type_name("DIR");
  add_read(app, "--resume",
           "auto: from the newest sound checkpoint, if there is one; never; or a step's number [auto]",
           [&arguments](const std::string& text) {
             const bool number =
                 !text.empty() && text.size() < 19 && std::all_of(text.begin(), text.end(), [](char c) {
                   return std::isdigit(static_cast<unsigned char>(c));
                 });
             if (text != "auto" && text != "never" && !number)
               throw Error("'{}' is none of auto, never and a step's number.", text);
             arguments.resume = text;
           })
      ->type_name("auto|never|STEP");
  add_read(
      app, "--stop-after", "save and stop after so much of this run's work, such as '100 steps' or '30min'",
      [&arguments](const std::string& text) {
        using common::Unit;
        const common::Quantity quantity = common::parse_quantity(text);
        if (quantity.value <= 0 ||
            (quantity.unit != Unit::steps && quantity.unit != Unit::tokens && quantity.unit != Unit::seconds))
          throw Error("'{}' is no quantity above 0 of steps, tokens or time, such as '100 steps' or '30min'.",
                      text);
        arguments.stop_after = quantity;
      })
      ->type_name("QUANTITY");
}

void add_evaluate(CLI::App& program, Command& command) {
  CLI::App& app = *program.add_subcommand("evaluate", "Score a trained model on its held-out text");
  auto& arguments = arguments_of<EvaluateArguments>(app, command);
  add_run(app, arguments.run);
  add_overrides(app, arguments.overrides);
  app.add_flag("--monitors", arguments.monitors,
               "show also each layer's and head's decays, lambda and scores (docs/numerics.md)");
}

void add_generate(CLI::App& program, Command& command) {
  CLI::App& app = *program.add_subcommand("generate", "Continue a prompt with a trained model");
  auto& arguments = arguments_of<GenerateArguments>(app, command);
  model::GenerateOptions& options = arguments.options;
  add_run(app, arguments.run);
  add_overrides(app, arguments.overrides);
  CLI::Option_group& prompt = *app.add_option_group("Prompt");
  prompt.add_option("--prompt", arguments.prompts, "text to continue; several continue at once")
      ->allow_extra_args(false)
      ->type_name("TEXT");
  prompt.add_option("--prompt-file", arguments.prompt_files, "file that holds one")
      ->allow_extra_args(false)
      ->type_name("FILE");
  prompt.require_option(1, 2);
  app.add_option("--max-tokens", options.max_tokens, "tokens to generate, at most")
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--temperature", options.temperature, "divides the logits; above 0")
      ->capture_default_str()
      ->type_name("X");
  app.add_option("--top-k", options.top_k, "draw among the K likeliest tokens; 0: all")
      ->capture_default_str()
      ->type_name("K");
  app.add_option("--top-p", options.top_p,
                 "draw among the fewest tokens with probability P together; up to 1")
      ->capture_default_str()
      ->type_name("P");
  app.add_flag("--greedy", options.greedy, "always the likeliest token");
  app.add_option("--seed", options.seed, "decides the draws; prompt p, from 0, draws with N + p")
      ->capture_default_str()
      ->type_name("N");
}

void add_plan(CLI::App& program, Command& command) {
  CLI::App& app =
      *program.add_subcommand("plan", "Show what a recipe amounts to: parameters, memory, steps, FLOPs");
  auto& arguments = arguments_of<PlanArguments>(app, command);
  add_recipe(app, arguments);
  app.add_option("--ranks", arguments.ranks, "plan for so many ranks [as many as run this]")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N");
  app.add_flag("--print-recipe", arguments.print_recipe, "print the merged recipe only");
}

void add_doctor(CLI::App& program, Command& command) {
  CLI::App& app =
      *program.add_subcommand("doctor", "Check MPI, devices, libraries and disk, and say what is wrong");
  arguments_of<DoctorArguments>(app, command);
}

void add_tokenizer(CLI::App& app, std::string& tokenizer) {
  app.add_option("--tokenizer", tokenizer, "bytes, or a tokenizer's file")
      ->required()
      ->type_name("FILE|bytes");
}

void add_data(CLI::App& program, Command& command) {
  CLI::App& data = *program.add_subcommand("data", "Prepare and look at training text");
  data.require_subcommand(1);
  {
    CLI::App& app =
        *data.add_subcommand("prepare", "Turn .txt, .jsonl, .jsonl.zst or standard input (-) into tokens");
    auto& arguments = arguments_of<DataPrepareArguments>(app, command);
    app.add_option("INPUT", arguments.inputs, "texts; -: standard input")->required()->type_name("FILE");
    add_tokenizer(app, arguments.tokenizer);
    app.add_option("--output", arguments.output, "folder for the tokens")->required()->type_name("DIR");
    add_read(app, "--validation", "share to hold out, 0 to 0.5, such as 1% [1%]",
             [&arguments](const std::string& text) {
               const common::Quantity share = common::parse_quantity(text);
               if (share.unit != common::Unit::none || share.value < 0 || share.value > 0.5)
                 throw Error("'{}' is no share from 0 to 0.5.", text);
               arguments.validation = share.value;
             })
        ->type_name("SHARE");
    add_read(app, "--on-error", "what to do with documents that cannot be read: stop or skip [stop]",
             [&arguments](const std::string& text) {
               if (text != "stop" && text != "skip") throw Error("'{}' is neither stop nor skip.", text);
               arguments.skip_errors = text == "skip";
             })
        ->type_name("stop|skip");
  }
  CLI::App& encode = *data.add_subcommand(
      "encode", "JSON lines with `text` on standard input to token ids, an array a line");
  add_tokenizer(encode, arguments_of<DataEncodeArguments>(encode, command).tokenizer);
  CLI::App& decode = *data.add_subcommand("decode", "The reverse of encode");
  add_tokenizer(decode, arguments_of<DataDecodeArguments>(decode, command).tokenizer);
  CLI::App& inspect = *data.add_subcommand("inspect", "Describe prepared tokens");
  inspect
      .add_option("DIR", arguments_of<DataInspectArguments>(inspect, command).folder,
                  "folder of prepared tokens")
      ->required()
      ->type_name("DIR");
}

void add_checkpoint(CLI::App& program, Command& command) {
  CLI::App& checkpoint =
      *program.add_subcommand("checkpoint", "List, verify and look into a run's checkpoints");
  checkpoint.require_subcommand(1);
  CLI::App& list = *checkpoint.add_subcommand("list", "Every checkpoint of a run");
  list.add_option("RUN", arguments_of<CheckpointListArguments>(list, command).run, "a run's folder")
      ->required()
      ->type_name("RUN");
  CLI::App& verify =
      *checkpoint.add_subcommand("verify", "Read everything and compare checksums; quicker with mpirun");
  add_run(verify, arguments_of<CheckpointVerifyArguments>(verify, command).run);
  CLI::App& inspect = *checkpoint.add_subcommand("inspect", "State, arrays and recipe of a checkpoint");
  add_run(inspect, arguments_of<CheckpointInspectArguments>(inspect, command).run);
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

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  CLI::App program("Trains language models of state-space-augmented attention on one or many processes.",
                   "sisa");
  program.set_version_flag("--version", version_text, "Show the commit and the versions of the libraries");
  program.require_subcommand(1);
  program.footer(
      "Exit status: 0 success; 1 failure; 2 a mistake in what was asked; 75 try again; 128 + signal after a "
      "save.");
  Command command;
  for (const auto add :
       {add_train, add_evaluate, add_generate, add_plan, add_doctor, add_data, add_checkpoint})
    add(program, command);
  try {
    program.parse(argc, argv);
    return {.command = command};
  } catch (const CLI::CallForHelp&) {
    return {.text = program.help()};
  } catch (const CLI::CallForVersion& version) {
    return {.text = version.what()};
  } catch (const CLI::ParseError& error) {
    return {.text = describe(error, program), .status = common::users_mistake};
  }
}

}  // namespace sisa::launcher
