#include "launcher/command_line.h"

#include <gmock/gmock.h>

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "common/text.h"

namespace sisa::launcher {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

CommandLine parse(std::vector<const char*> words) {
  words.insert(words.begin(), "sisa");
  return parse_command_line(static_cast<int>(words.size()), words.data());
}

template <typename Arguments>
Arguments parse_as(std::vector<const char*> words) {
  const CommandLine line = parse(std::move(words));
  EXPECT_TRUE(line.command && std::holds_alternative<Arguments>(*line.command)) << line.text;
  return line.command ? std::get<Arguments>(*line.command) : Arguments{};
}

std::string refused(std::vector<const char*> words) {
  const CommandLine line = parse(std::move(words));
  EXPECT_FALSE(line.command);
  EXPECT_EQ(line.status, common::users_mistake);
  return line.text;
}

TEST(CommandLine, Train) {
  const auto plain = parse_as<TrainArguments>({"train", "r.yaml"});
  EXPECT_EQ(plain.recipe, "r.yaml");
  EXPECT_EQ(plain.resume, "auto");
  EXPECT_FALSE(plain.stop_after);
  const auto full = parse_as<TrainArguments>({"train",           "--set",
                                              "a.b=1",           "r.yaml",
                                              "--set",           "c.d=[{path: x, weight: 2}, {path: y}]",
                                              "--output",        "o",
                                              "--resume",        "500",
                                              "--stop-after",    "1.5B tokens",
                                              "--set=e.f=[1,2]", "--overlay",
                                              "x.yaml",          "--overlay=a b,c.yaml",
                                              "--allow-change",  "train.batch",
                                              "--allow-change",  "model.clamp"});
  EXPECT_THAT(full.allowed_changes, ElementsAre("train.batch", "model.clamp"));
  EXPECT_THAT(full.overlays, ElementsAre("x.yaml", "a b,c.yaml"));
  EXPECT_THAT(full.overrides, ElementsAre("a.b=1", "c.d=[{path: x, weight: 2}, {path: y}]", "e.f=[1,2]"));
  EXPECT_EQ(full.recipe, "r.yaml");
  EXPECT_EQ(full.output, "o");
  EXPECT_EQ(full.resume, "500");
  ASSERT_TRUE(full.stop_after);
  EXPECT_EQ(full.stop_after->value, 1.5e9);
  EXPECT_EQ(full.stop_after->unit, common::Unit::tokens);
}

TEST(CommandLine, Generate) {
  const auto a = parse_as<GenerateArguments>(
      {"generate", "run@500", "--prompt", "[In the, beginning]", "--max-tokens", "9", "--temperature", "0.5",
       "--top-k", "5", "--top-p", "0.9", "--greedy", "--seed", "18446744073709551615"});
  EXPECT_EQ(a.run, "run@500");
  EXPECT_THAT(a.prompts, ElementsAre("[In the, beginning]"));
  EXPECT_EQ(a.options.max_tokens, 9);
  EXPECT_EQ(a.options.temperature, 0.5);
  EXPECT_EQ(a.options.top_k, 5);
  EXPECT_EQ(a.options.top_p, 0.9);
  EXPECT_TRUE(a.options.greedy);
  EXPECT_EQ(a.options.seed, 18446744073709551615u);
  const auto prompts = [](std::vector<const char*> words) {
    words.insert(words.begin(), {"generate", "run"});
    return parse_as<GenerateArguments>(std::move(words)).prompts;
  };
  EXPECT_THAT(prompts({"--prompt", ""}), ElementsAre(""));
  EXPECT_THAT(prompts({"--prompt", "-x --y"}), ElementsAre("-x --y"));
  EXPECT_THAT(prompts({"--prompt", "a, b", "--prompt", "[c]"}), ElementsAre("a, b", "[c]"));
  EXPECT_THAT(parse_as<GenerateArguments>(
                  {"generate", "run", "--prompt-file", "f", "--prompt", "x", "--prompt-file", "g"})
                  .prompt_files,
              ElementsAre("f", "g"));
}

TEST(CommandLine, Others) {
  EXPECT_EQ(parse_as<EvaluateArguments>({"evaluate", "run@3"}).run, "run@3");
  EXPECT_EQ(parse_as<PlanArguments>({"plan", "r.yaml", "--ranks", "8"}).ranks, 8);
  EXPECT_TRUE(parse_as<PlanArguments>({"plan", "r.yaml", "--print-recipe"}).print_recipe);
  const auto plan = parse_as<PlanArguments>({"plan", "--overlay", "x.yaml", "r.yaml", "--overlay", "y.yaml"});
  EXPECT_EQ(plan.recipe, "r.yaml");
  EXPECT_THAT(plan.overlays, ElementsAre("x.yaml", "y.yaml"));
  parse_as<DoctorArguments>({"doctor"});
  const auto prepare = parse_as<DataPrepareArguments>(
      {"data", "prepare", "a.txt", "-", "--tokenizer", "bytes", "--output", "d", "--validation", "2%",
       "--on-error", "skip", "--deduplicate", "--threads", "3"});
  EXPECT_THAT(prepare.inputs, ElementsAre("a.txt", "-"));
  EXPECT_DOUBLE_EQ(prepare.validation.share, 0.02);
  EXPECT_TRUE(prepare.skip_errors);
  EXPECT_TRUE(prepare.deduplicate);
  EXPECT_EQ(prepare.threads, 3);
  EXPECT_EQ(parse_as<DataEncodeArguments>({"data", "encode", "--tokenizer", "t.json"}).tokenizer, "t.json");
  EXPECT_EQ(parse_as<DataDecodeArguments>({"data", "decode", "--tokenizer", "bytes"}).tokenizer, "bytes");
  const auto plain = parse_as<DataInspectArguments>({"data", "inspect", "d"});
  EXPECT_EQ(plain.path, "d");
  EXPECT_TRUE(plain.check);
  EXPECT_FALSE(plain.split || plain.counts);
  const auto inspect =
      parse_as<DataInspectArguments>({"data", "inspect", "d", "--tokenizer", "bytes", "--split", "validation",
                                      "--first", "5", "--count", "6", "--no-check", "--counts"});
  EXPECT_EQ(inspect.tokenizer, "bytes");
  EXPECT_EQ(inspect.split, data::Split::validation);
  EXPECT_EQ(inspect.first, 5);
  EXPECT_EQ(inspect.count, 6);
  EXPECT_FALSE(inspect.check);
  EXPECT_TRUE(inspect.counts);
  EXPECT_EQ(parse_as<CheckpointListArguments>({"checkpoint", "list", "r"}).run, "r");
  EXPECT_EQ(parse_as<CheckpointVerifyArguments>({"checkpoint", "verify", "r@5"}).run, "r@5");
  EXPECT_EQ(parse_as<CheckpointInspectArguments>({"checkpoint", "inspect", "r"}).run, "r");
  const auto prune =
      parse_as<CheckpointPruneArguments>({"checkpoint", "prune", "r", "--keep-last", "2", "--keep-every",
                                          "1B tokens", "--keep-best", "--damaged", "--dry-run"});
  EXPECT_EQ(prune.run, "r");
  EXPECT_EQ(prune.retention.keep_last, 2);
  EXPECT_EQ(prune.retention.keep_every, 1'000'000'000);
  EXPECT_TRUE(prune.retention.keep_best && prune.damaged && prune.dry_run);
  EXPECT_EQ(parse_as<CheckpointPruneArguments>({"checkpoint", "prune", "r"}).retention.keep_last, 0);
  const auto diff = parse_as<CheckpointDiffArguments>({"checkpoint", "diff", "r@5", "s"});
  EXPECT_EQ(diff.a, "r@5");
  EXPECT_EQ(diff.b, "s");
}

TEST(CommandLine, Interchange) {
  const auto plain = parse_as<CheckpointExportArguments>({"checkpoint", "export", "r", "--output", "o"});
  EXPECT_EQ(plain.run, "r");
  EXPECT_EQ(plain.output, "o");
  EXPECT_FALSE(plain.hugging_face);
  EXPECT_EQ(plain.type, c10::kFloat);
  EXPECT_EQ(plain.tokenizer, "");
  const auto full =
      parse_as<CheckpointExportArguments>({"checkpoint", "export", "r@5", "--output", "o", "--format", "hf",
                                           "--dtype", "bf16", "--tokenizer", "t.json"});
  EXPECT_EQ(full.run, "r@5");
  EXPECT_TRUE(full.hugging_face);
  EXPECT_EQ(full.type, c10::kBFloat16);
  EXPECT_EQ(full.tokenizer, "t.json");
  const auto imported =
      parse_as<CheckpointImportArguments>({"checkpoint", "import", "f", "--output", "o", "--recipe", "r.yaml",
                                           "--set", "a.b=1", "--set", "c.d=2"});
  EXPECT_EQ(imported.file, "f");
  EXPECT_EQ(imported.output, "o");
  EXPECT_EQ(imported.recipe, "r.yaml");
  EXPECT_THAT(imported.overrides, ElementsAre("a.b=1", "c.d=2"));
  const auto probe = parse_as<CheckpointProbeArguments>(
      {"checkpoint", "probe", "r@5", "--output", "o", "--sequences", "3", "--length", "9", "--seed", "7"});
  EXPECT_EQ(probe.run, "r@5");
  EXPECT_EQ(probe.output, "o");
  EXPECT_EQ(probe.sequences, 3);
  EXPECT_EQ(probe.length, 9);
  EXPECT_EQ(probe.seed, 7u);
}

TEST(CommandLine, HelpComesFromTheTable) {
  const CommandLine help = parse({"--help"});
  EXPECT_EQ(help.status, common::success);
  for (const char* command : {"train", "evaluate", "generate", "data", "checkpoint", "plan", "doctor"})
    EXPECT_THAT(help.text, HasSubstr(command));
  EXPECT_THAT(parse({"train", "--help"}).text,
              AllOf(HasSubstr("RECIPE"), HasSubstr("--stop-after"), HasSubstr("SECTION.KEY=VALUE")));
  EXPECT_THAT(parse({"data", "prepare", "-h"}).text, HasSubstr("--on-error"));
}

template <typename Arguments>
void expect_described() {
  std::vector<std::string> words = common::split(Arguments::name, ' ');
  std::vector<const char*> pointers;
  for (const std::string& word : words) pointers.push_back(word.c_str());
  pointers.push_back("--help");
  // The help begins with the description, unless there is none.
  EXPECT_THAT(parse(pointers).text, AllOf(Not(StartsWith("Usage")), HasSubstr("\nUsage: ")))
      << Arguments::name;
}
template <typename... Arguments>
void expect_all_described(const std::variant<Arguments...>&) {
  (expect_described<Arguments>(), ...);
}

TEST(CommandLine, EveryCommandSaysWhatItDoes) {
  expect_all_described(Command{});
}

TEST(CommandLine, CommandsAdviseWhenMemoryRunsOut) {
  const auto advice = [](const Command& command) -> std::string {
    return std::visit([](const auto& arguments) { return out_of_memory_advice(arguments); }, command);
  };
  EXPECT_THAT(advice(TrainArguments{}), HasSubstr("train.micro_batch or raise train.recompute"));
  EXPECT_THAT(advice(EvaluateArguments{}), HasSubstr("train.micro_batch by --set"));
  EXPECT_THAT(advice(GenerateArguments{}), HasSubstr("--max-tokens"));
  EXPECT_THAT(advice(DoctorArguments{}), HasSubstr("Let other programs use less"));
}

// An unset variable of a script must not pass for an option that was left out.
TEST(CommandLine, EmptyValuesAreRefused) {
  for (const char* option :
       {"--from", "--output", "--overlay", "--set", "--resume", "--stop-after", "--allow-change"})
    EXPECT_THAT(refused({"train", "r.yaml", option, ""}), HasSubstr(option)) << option;
  EXPECT_THAT(refused({"train", "r.yaml", "--output="}), HasSubstr("--output"));
  EXPECT_THAT(refused({"train", ""}), AllOf(HasSubstr("RECIPE"), HasSubstr("an empty text")));
  EXPECT_THAT(refused({"plan", "r.yaml", "--overlay", ""}), HasSubstr("--overlay"));
  EXPECT_THAT(refused({"evaluate", ""}), HasSubstr("RUN"));
  EXPECT_THAT(refused({"generate", "run", "--prompt-file", ""}), HasSubstr("--prompt-file"));
  EXPECT_THAT(refused({"data", "prepare", "a", "--tokenizer", "", "--output", "d"}),
              HasSubstr("--tokenizer"));
  EXPECT_THAT(refused({"data", "prepare", "", "--tokenizer", "bytes", "--output", "d"}), HasSubstr("INPUT"));
  EXPECT_THAT(refused({"data", "prepare", "a", "--tokenizer", "bytes", "--output", ""}),
              HasSubstr("--output"));
  EXPECT_THAT(refused({"data", "inspect", "d", "--tokenizer", ""}), HasSubstr("--tokenizer"));
  EXPECT_THAT(refused({"checkpoint", "prune", ""}), HasSubstr("RUN"));
  EXPECT_THAT(refused({"checkpoint", "export", "r", "--output", "o", "--format", "hf", "--tokenizer", ""}),
              HasSubstr("--tokenizer"));
  EXPECT_THAT(refused({"checkpoint", "import", "f", "--output", "o", "--recipe", ""}), HasSubstr("--recipe"));
}

TEST(CommandLine, RanksAgreeOnTheWholeLineOrOnTheOptionsOfTrain) {
  const auto facts = [](std::vector<const char*> words) {
    const CommandLine line = parse(std::move(words));
    std::map<std::string, std::string> result;
    for (const auto& [name, value] :
         std::visit([&](const auto& arguments) { return facts_to_agree_on(arguments, line.typed); },
                    line.command.value()))
      result[name] = value;
    return result;
  };
  EXPECT_THAT(facts({"plan", "r.yaml", "--ranks", "2"}),
              ElementsAre(testing::Pair("the command line", "`sisa plan r.yaml --ranks 2`")));
  const auto train = facts({"train", "a.yaml", "--set", "run.seed=2", "--output", "o"});
  EXPECT_EQ(train,
            facts({"train", "b.yaml", "--output", "o"}));  // the recipes are compared when they are read
  for (const auto& [option, value] : std::map<const char*, const char*>{{"--output", "p"},
                                                                        {"--from", "run"},
                                                                        {"--resume", "never"},
                                                                        {"--stop-after", "3 steps"},
                                                                        {"--allow-change", "train.batch"}})
    EXPECT_NE(facts({"train", "a.yaml", option, value}), facts({"train", "a.yaml"})) << option;
  EXPECT_NE(facts({"train", "--from", "run"}), facts({"train", "a.yaml", "--from", "run"}));
}

TEST(CommandLine, VersionNamesTheLibraries) {
  const CommandLine version = parse({"--version"});
  EXPECT_EQ(version.status, common::success);
  EXPECT_THAT(version.text, testing::MatchesRegex("sisa [0-9.]+, commit [0-9a-f]+(\\+dirty)?\nLibTorch "
                                                  "[0-9].*\nCUDA .*\nNCCL .*\nMPI .+\nHDF5 [0-9.]+\n"));
}

TEST(CommandLine, MistakesAreNamed) {
  EXPECT_THAT(refused({}), HasSubstr("See `sisa --help`."));
  EXPECT_THAT(refused({"trian"}), HasSubstr("There is no command 'trian'; did you mean 'train'?"));
  EXPECT_THAT(refused({"train"}),
              AllOf(HasSubstr("RECIPE is required"), HasSubstr("See `sisa train --help`.")));
  EXPECT_THAT(refused({"train", "r.yaml", "--profile", "x"}), HasSubstr("--profile"));
  EXPECT_THAT(refused({"train", "r.yaml", "--stop-after", "3 lemons"}), HasSubstr("'3 lemons'"));
  EXPECT_THAT(refused({"train", "r.yaml", "--stop-after", "3"}),
              HasSubstr("'3' is no quantity above 0 of steps, tokens or time"));
  EXPECT_THAT(refused({"train", "r.yaml", "--resume", "maybe"}),
              HasSubstr("'maybe' is none of auto, never and a step's number"));
  EXPECT_THAT(refused({"train", "r.yaml", "--set"}), HasSubstr("--set"));
  EXPECT_THAT(refused({"train", "r.yaml", "--overlay"}), HasSubstr("--overlay"));
  EXPECT_THAT(refused({"evaluate", "run", "--overlay", "x.yaml"}), HasSubstr("--overlay"));
  EXPECT_THAT(refused({"plan", "r.yaml", "--ranks", "0"}), HasSubstr("--ranks"));
  EXPECT_THAT(refused({"generate", "run"}), HasSubstr("--prompt"));
  EXPECT_THAT(
      refused({"generate", "run", "--prompt", "a", "--top-k", "few"}),
      HasSubstr("--top-k: 'few' is given, but it must be a whole number from 0 to 9223372036854775807"));
  for (const char* seed : {"-1", "18446744073709551616", "1.5", "0x10", "1_000", "1e3", "+1", " 1"})
    EXPECT_THAT(refused({"generate", "run", "--prompt", "a", "--seed", seed}), HasSubstr("--seed: ")) << seed;
  for (const char* share : {"0", "-0.5", "1.001", "nan", "inf", "half"})
    EXPECT_THAT(refused({"generate", "run", "--prompt", "a", "--top-p", share}),
                HasSubstr("it must be a number above 0 to 1"))
        << share;
  EXPECT_THAT(refused({"data"}), HasSubstr("See `sisa data --help`."));
  EXPECT_THAT(
      refused({"data", "prepare", "a", "--tokenizer", "bytes", "--output", "d", "--validation", "0.7"}),
      HasSubstr("'0.7' is no share from 0 to 0.5"));
  EXPECT_THAT(refused({"data", "prepare", "a", "--tokenizer", "bytes", "--output", "d", "--on-error", "cry"}),
              HasSubstr("'cry' is neither stop nor skip"));
  EXPECT_THAT(refused({"data", "prepare", "a", "--tokenizer", "bytes", "--output", "d", "--threads", "0"}),
              HasSubstr("--threads"));
  EXPECT_THAT(refused({"checkpoint", "fetch", "r"}),
              HasSubstr("There is no command 'fetch'; the commands are list"));
  EXPECT_THAT(refused({"checkpoint", "prune", "r", "--keep-last", "0"}), HasSubstr("--keep-last"));
  EXPECT_THAT(refused({"checkpoint", "prune", "r", "--keep-best"}),
              HasSubstr("--keep-best requires --keep-last"));
  EXPECT_THAT(refused({"checkpoint", "prune", "r", "--keep-last", "1", "--keep-every", "0"}),
              HasSubstr("'0' is no number of tokens above 0"));
  EXPECT_THAT(refused({"checkpoint", "diff", "r"}), HasSubstr("B is required"));
  EXPECT_THAT(refused({"checkpoint", "export", "r"}), HasSubstr("--output is required"));
  EXPECT_THAT(refused({"checkpoint", "export", "r", "--output", "o", "--format", "onnx"}),
              HasSubstr("'onnx' is neither safetensors nor hf"));
  EXPECT_THAT(refused({"checkpoint", "export", "r", "--output", "o", "--dtype", "int8"}),
              HasSubstr("'int8' is none of fp64, fp32, bf16 and fp16"));
  EXPECT_THAT(refused({"checkpoint", "import", "f"}), HasSubstr("--output is required"));
  EXPECT_THAT(refused({"checkpoint", "probe", "r", "--output", "o", "--length", "0"}), HasSubstr("--length"));
}

}  // namespace
}  // namespace sisa::launcher
