#include "launcher/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <map>

#include "common/text.h"
#include "launcher/run/version.h"

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
CLI::Option& add_recipe(CLI::App& app, auto& arguments) {
  CLI::Option& recipe =
      *app.add_option("RECIPE", arguments.recipe, "recipe (docs/recipes.md)")->required()->type_name("FILE");
  app.add_option("--overlay", arguments.overlays,
                 "recipe whose keys win over RECIPE's, before --set; may be repeated")
      ->allow_extra_args(false)
      ->type_name("FILE");
  add_overrides(app, arguments.overrides);
  return recipe;
}

void add_run(CLI::App& app, std::string& run) {
  app.add_option("RUN", run, "a run's folder, for its newest checkpoint, or FOLDER@STEP")
      ->required()
      ->type_name("RUN[@STEP]");
}

void add_train(CLI::App& program, Command& command) {
  CLI::App& app = *program.add_subcommand("train", "Train a model; start it with mpirun for several ranks");
  auto& arguments = arguments_of<TrainArguments>(app, command);
  CLI::Option& recipe = add_recipe(app, arguments);
  // Without a recipe the checkpoint's own counts.
  app.add_option(
         "--from", arguments.from,
         "begin a new run with the whole state of another one's checkpoint; RECIPE may then be left out")
      ->type_name("RUN[@STEP]")
      ->each([&recipe](const std::string&) { recipe.required(false); });
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

void add_data_inspect(CLI::App& data, Command& command) {
  CLI::App& app = *data.add_subcommand(
      "inspect", "Describe, check and show tokens: of `prepare`, llm.c, Megatron-LM or the published code");
  auto& arguments = arguments_of<DataInspectArguments>(app, command);
  app.add_option("PATH", arguments.path, "folder of tokens, a .bin, or a Megatron-LM prefix")
      ->required()
      ->type_name("PATH");
  app.add_option(
         "--tokenizer", arguments.tokenizer,
         "bytes, or a tokenizer's file: shows text and not ids, and every id must be in its vocabulary "
         "[that of the folder, if it is there]")
      ->type_name("FILE|bytes");
  add_read(app, "--split", "show train or validation only [both]", [&arguments](const std::string& text) {
    if (text != "train" && text != "validation") throw Error("'{}' is neither train nor validation.", text);
    arguments.split = text == "train" ? data::Split::train : data::Split::validation;
  })->type_name("train|validation");
  app.add_option("--first", arguments.first, "the token to show from")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--count", arguments.count, "tokens to show")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
  app.add_flag("--check,!--no-check", arguments.check,
               "read every id and compare checksums; --no-check: headers only [check]");
  app.add_flag("--counts", arguments.counts, "show the most frequent ids and how many never occur");
}

void add_data(CLI::App& program, Command& command) {
  CLI::App& data = *program.add_subcommand("data", "Prepare and look at training text");
  data.require_subcommand(1);
  {
    CLI::App& app = *data.add_subcommand(
        "prepare",
        "Turn .txt, .jsonl, .jsonl.gz, .jsonl.zst or standard input (-) into tokens; quicker with mpirun");
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
    app.add_flag("--deduplicate", arguments.deduplicate,
                 "drop documents whose text came before; takes 24 bytes of memory a document");
    app.add_option("--threads", arguments.threads, "threads of each rank [its share of the host's cores]")
        ->check(CLI::Range(1, 1 << 12))
        ->type_name("N");
    app.footer("Killed on the way, it goes on when the same command is run again.");
  }
  CLI::App& encode = *data.add_subcommand(
      "encode", "JSON lines with `text` on standard input to token ids, an array a line");
  add_tokenizer(encode, arguments_of<DataEncodeArguments>(encode, command).tokenizer);
  CLI::App& decode = *data.add_subcommand("decode", "The reverse of encode");
  add_tokenizer(decode, arguments_of<DataDecodeArguments>(decode, command).tokenizer);
  add_data_inspect(data, command);
}

void add_checkpoint_prune(CLI::App& checkpoint, Command& command) {
  CLI::App& app = *checkpoint.add_subcommand(
      "prune", "Remove checkpoints that no rule keeps, and what killed runs left; quicker with mpirun");
  auto& arguments = arguments_of<CheckpointPruneArguments>(app, command);
  checkpoint::Retention& retention = arguments.retention;
  app.add_option("RUN", arguments.run, "a run's folder")->required()->type_name("RUN");
  CLI::Option& last = *app.add_option("--keep-last", retention.keep_last, "keep the newest K [all]")
                           ->check(CLI::Range(1, 1'000'000))
                           ->type_name("K");
  add_read(app, "--keep-every", "keep also the first at or after each multiple of so many tokens",
           [&retention](const std::string& text) {
             retention.keep_every = common::parse_count(text, common::Unit::tokens);
             if (retention.keep_every == 0) throw Error("'{}' is no number of tokens above 0.", text);
           })
      ->needs(&last)
      ->type_name("TOKENS");
  app.add_flag("--keep-best", retention.keep_best, "keep also the one with the smallest held-out loss")
      ->needs(&last);
  app.add_flag("--damaged", arguments.damaged, "read every checkpoint, and remove those that are not sound");
  app.add_flag("--dry-run", arguments.dry_run, "only say what would go");
  app.footer("Weights saved at chosen steps (checkpoint.save_at) always stay.");
}

void add_checkpoint_diff(CLI::App& checkpoint, Command& command) {
  CLI::App& app = *checkpoint.add_subcommand("diff", "Compare two checkpoints, number by number");
  auto& arguments = arguments_of<CheckpointDiffArguments>(app, command);
  app.add_option("A", arguments.a, "a run's folder, for its newest checkpoint, or FOLDER@STEP")
      ->required()
      ->type_name("RUN[@STEP]");
  app.add_option("B", arguments.b, "the other one")->required()->type_name("RUN[@STEP]");
  app.footer(
      "Exit status: 0 if steps, samples, tokens and every array agree bit for bit; 1 if not. Recipes are "
      "shown where they differ and do not count.");
}

void add_checkpoint_export(CLI::App& checkpoint, Command& command) {
  CLI::App& app = *checkpoint.add_subcommand(
      "export",
      "A checkpoint's weights for other programs: a safetensors file, or a folder for transformers");
  auto& arguments = arguments_of<CheckpointExportArguments>(app, command);
  add_run(app, arguments.run);
  app.add_option("--output", arguments.output, "file or folder to write")->required()->type_name("PATH");
  add_read(app, "--format",
           "safetensors, or hf: a folder that Hugging Face's transformers loads [safetensors]",
           [&arguments](const std::string& text) {
             if (text != "safetensors" && text != "hf")
               throw Error("'{}' is neither safetensors nor hf.", text);
             arguments.hugging_face = text == "hf";
           })
      ->type_name("safetensors|hf");
  add_read(
      app, "--dtype", "round all numbers to fp64, fp32, bf16 or fp16 [fp32]",
      [&arguments](const std::string& text) {
        const std::map<std::string, c10::ScalarType> types = {
            {"fp64", c10::kDouble}, {"fp32", c10::kFloat}, {"bf16", c10::kBFloat16}, {"fp16", c10::kHalf}};
        if (!types.contains(text)) throw Error("'{}' is none of fp64, fp32, bf16 and fp16.", text);
        arguments.type = types.at(text);
      })
      ->type_name("fp64|fp32|bf16|fp16");
  app.add_option("--tokenizer", arguments.tokenizer,
                 "of --format hf: bytes, or a tokenizer's file [the recipe's]")
      ->type_name("FILE|bytes");
}

void add_checkpoint_import(CLI::App& checkpoint, Command& command) {
  CLI::App& app = *checkpoint.add_subcommand(
      "import", "Make a run of a safetensors file: weights to evaluate, to generate with or to start from");
  auto& arguments = arguments_of<CheckpointImportArguments>(app, command);
  app.add_option("FILE", arguments.file, "safetensors file of `export` or of another program")
      ->required()
      ->type_name("FILE");
  app.add_option("--output", arguments.output, "the new run's folder")->required()->type_name("DIR");
  app.add_option("--recipe", arguments.recipe, "recipe of the model [the one that `export` wrote into FILE]")
      ->type_name("FILE");
  add_overrides(app, arguments.overrides);
  app.footer(
      "The run holds weights alone. `sisa train DIR/recipe.yaml` begins at step 0 with them, as does any "
      "other "
      "run with --set run.init_from=DIR.");
}

void add_checkpoint_probe(CLI::App& checkpoint, Command& command) {
  CLI::App& app = *checkpoint.add_subcommand(
      "probe", "A checkpoint's logits, loss and gradients on random tokens, in fp64: see scripts/parity.py");
  auto& arguments = arguments_of<CheckpointProbeArguments>(app, command);
  add_run(app, arguments.run);
  app.add_option("--output", arguments.output, "safetensors file to write or replace")
      ->required()
      ->type_name("FILE");
  app.add_option("--sequences", arguments.sequences, "how many")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--length", arguments.length, "tokens of each")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--seed", arguments.seed, "decides the tokens")->capture_default_str()->type_name("N");
}

void add_checkpoint(CLI::App& program, Command& command) {
  CLI::App& checkpoint = *program.add_subcommand(
      "checkpoint", "List, verify, compare, remove, export and import checkpoints, or look into them");
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
  add_checkpoint_prune(checkpoint, command);
  add_checkpoint_diff(checkpoint, command);
  add_checkpoint_export(checkpoint, command);
  add_checkpoint_import(checkpoint, command);
  add_checkpoint_probe(checkpoint, command);
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
