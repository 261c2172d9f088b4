// Reading, merging, checking and printing of recipes.
#include "launcher/recipe/recipe.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "launcher/recipe/keys.h"
#include "tests/launcher/refusal.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
using common::Precision;
using common::Unit;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using tests::refusal;

const std::string small = R"(run: {seed: 7, threads: 1}
model: {system: sisa, vocab_size: 257, d_model: 32, num_layers: 2, num_heads: 2, d_ff: 48, d_state: 8}
data: {tokenizer: bytes, sequence_length: 32}
train: {max_tokens: 19200 tokens, batch: 384 tokens, warmup: 5 steps}
)";

Recipe parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_recipe(text, "r.yaml", overrides);
}
// What is said about `text`, or about the small recipe with one --set.
std::string refused(const std::string& text) {
  return refusal([&] { parse(text); });
}
std::string refused_set(const std::string& option) {
  return refusal([&] { parse(small, {option}); });
}

// A folder of recipes that is gone afterwards.
class RecipeFiles : public testing::Test {
 protected:
  RecipeFiles() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / fmt::format("sisa-recipe-{}-{}", test->name(), getpid());
    fs::create_directories(folder_ / "base");
  }
  ~RecipeFiles() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  std::string refused(const fs::path& file) {
    return refusal([&] { load_recipe(file); });
  }
  fs::path folder_;
};

TEST(Recipe, ReadsValuesWithUnits) {
  const Recipe r =
      parse(small, {"train.max_tokens=1.5M", "train.warmup=3840 tokens", "checkpoint.every=30min",
                    "data.validation=2%", "optimizer.sharded=false", "run.seed=18446744073709551615",
                    "data.sources=[{path: a b.txt}, {weight: 2.5, path: c}]", "evaluation.every=0"});
  EXPECT_EQ(r.model.d_model, 32);
  EXPECT_EQ(r.run.seed, 18446744073709551615u);
  EXPECT_EQ(r.train.max_tokens, 1'500'000);
  EXPECT_EQ(r.warmup_steps(), 10);
  EXPECT_EQ(r.checkpoint.every.unit, Unit::seconds);
  EXPECT_EQ(r.checkpoint.every.value, 1800);
  EXPECT_EQ(r.evaluation.every.value, 0);
  EXPECT_DOUBLE_EQ(r.data.validation.share, 0.02);
  EXPECT_FALSE(r.optimizer.sharded);
  ASSERT_EQ(r.data.sources.size(), 2u);
  EXPECT_EQ(r.data.sources[0].path, "a b.txt");
  EXPECT_EQ(r.data.sources[0].weight, 1);
  EXPECT_EQ(r.data.sources[1].weight, 2.5);
  EXPECT_EQ(r.samples_per_step(), 12);
  EXPECT_EQ(r.total_steps(), 3906);
}

TEST(Recipe, DefaultsFollowOtherKeys) {
  const Recipe cpu = parse(small);
  EXPECT_EQ(cpu.run.precision, Precision::fp32);
  EXPECT_EQ(cpu.run.determinism, Determinism::strict);
  EXPECT_DOUBLE_EQ(cpu.optimizer.learning_rates.at("lambda_lr"), cpu.optimizer.learning_rate / 10);
  EXPECT_EQ(cpu.optimizer.weight_decay_on, parallel::WeightDecayOn::matrices);
  const Recipe cuda = parse(small, {"run.device=cuda", "optimizer.learning_rate=0.02"});
  EXPECT_EQ(cuda.run.precision, Precision::bf16);
  EXPECT_EQ(cuda.run.determinism, Determinism::fast);
  EXPECT_DOUBLE_EQ(cuda.optimizer.learning_rates.at("lambda_lr"), 0.002);
  EXPECT_DOUBLE_EQ(cuda.model.rate_factor("lambda_lr"), 0.1);
  EXPECT_DOUBLE_EQ(parse(small, {"optimizer.learning_rate=0.02", "optimizer.lambda_lr=0.01"})
                       .model.rate_factor("lambda_lr"),
                   0.5);
  EXPECT_EQ(parse(small, {"run.precision=bf16_pure"}).optimizer.weight_decay_on,
            parallel::WeightDecayOn::all);
}

TEST(Recipe, SolvesForAWidth) {
  const std::string shape =
      "model: {d_ff: match 151878144, d_model: 768, num_layers: 12, num_heads: 12, d_state: ";
  EXPECT_EQ(parse(shape + "16}").model.d_ff, 2908);
  EXPECT_EQ(parse(shape + "128}").model.d_ff, 1788);
  EXPECT_THAT(
      refused("model: {d_ff: match 1000}"),
      AllOf(StartsWith("r.yaml:1: model.d_ff is 'match 1000', which cannot be met: "), HasSubstr("1,000")));
  EXPECT_THAT(refused("model: {d_ff: match 5 steps}"), HasSubstr("model.d_ff"));
  EXPECT_THAT(refused("model: {d_ff: match 1000T}"), HasSubstr("above 1048576"));
}

TEST(Recipe, TheScheduleInSteps) {
  const Schedule wsd = parse(small, {"train.schedule=wsd", "train.cooldown=10%"}).schedule();
  EXPECT_EQ(wsd.kind, ScheduleKind::wsd);
  EXPECT_EQ(wsd.total, 50);
  EXPECT_EQ(wsd.warmup, 5);
  EXPECT_EQ(wsd.cooldown, 5);
  EXPECT_EQ(parse(small).schedule().cooldown, 0);
  EXPECT_EQ(parse(small).schedule().warmup_start, WarmupStart::zero);
  EXPECT_EQ(parse(small, {"train.warmup_start=first_step"}).schedule().warmup_start, WarmupStart::first_step);
}

// 1,000 tokens in batches of 96 (sequences of 32): ten steps, whose 40 tokens too many are left out.
TEST(Recipe, TokensSayHowManyStepsAreLeft) {
  const Recipe r = parse(small, {"train.max_tokens=1000", "train.batch=96", "train.warmup=0"});
  EXPECT_EQ(r.total_steps(), 10);
  for (int64_t step = 0; step <= 10; ++step) {
    EXPECT_EQ(r.steps_left(step * 96), 10 - step);
    EXPECT_EQ(r.schedule_step(step * 96), step);
  }
  // The batch was 32 for the first 15 steps, 480 tokens: half of the run, whatever the steps.
  EXPECT_EQ(r.steps_left(480), 5);
  EXPECT_EQ(r.schedule_step(480), 5);
  EXPECT_EQ(r.steps_left(5000), 0);  // a run that was shortened
}

TEST(Recipe, PrintsWhatReadsBack) {
  for (const std::vector<std::string>& overrides : std::vector<std::vector<std::string>>{
           {},
           {"model.system=transformer", "model.d_state=default"},
           {"model.offset=minimax", "model.clamp=9.5"},
           {"train.schedule=wsd", "train.warmup=1k tokens", "checkpoint.every=90s", "train.max_tokens=2B"},
           {"train.warmup_start=first_step", "log.monitors=1M tokens", "run.init_from=runs/a b@500"},
           {"data.sources=[{path: 'a: b', weight: 0.1}, {path: \"q\\\"x\"}]", "run.output=a b/c",
            "run.device=cuda"},
           {"optimizer.learning_rate=1.2345678901234567e-5", "run.precision=fp64",
            "data.tokenizer=my #1.json"}}) {
    const std::string printed = print_recipe(parse(small, overrides));
    EXPECT_EQ(print_recipe(parse(printed)), printed);
  }
  EXPECT_THAT(print_recipe(parse(small)),
              HasSubstr("\ntrain:\n  max_tokens: 19200 tokens\n  batch: 384 tokens\n"));
  EXPECT_THAT(print_recipe(parse(small)), AllOf(HasSubstr("  d_state: 8\n"), Not(HasSubstr("clamp"))));
  EXPECT_THAT(print_recipe(parse(small, {"data.sources=[{path: x}]"})),
              HasSubstr("\n  sources:\n    - {path: x, weight: 1}\n"));
}

TEST(Recipe, UnknownKeysNameTheNearest) {
  EXPECT_EQ(refused("model:\n  d_modl: 3\n"),
            "r.yaml:2: section 'model' has no key 'd_modl'; did you mean 'd_model'?");
  EXPECT_EQ(refused("trian: {batch: 3}\n"), "r.yaml:1: there is no section 'trian'; did you mean 'train'?");
  EXPECT_EQ(refused("model: {batch: 3}\n"),
            "r.yaml:1: section 'model' has no key 'batch'; did you mean train.batch?");
  EXPECT_THAT(refused("xyzzyqwert: {}\n"), HasSubstr("the sections are run, model, data, train, optimizer"));
  EXPECT_EQ(refused("log: {qwertzuiop: 1}\n"),
            "r.yaml:1: section 'log' has no key 'qwertzuiop'; its keys are every, monitors");
  EXPECT_EQ(refused_set("model.d_modl=3"),
            "--set: section 'model' has no key 'd_modl'; did you mean 'd_model'?");
  EXPECT_EQ(refused_set("modle.d_model=3"), "--set: there is no section 'modle'; did you mean 'model'?");
}

TEST(Recipe, WrongTypes) {
  EXPECT_EQ(refused("\nmodel:\n  d_model: wide\n"),
            "r.yaml:3: model.d_model is 'wide', but it must be a whole number from 1 to 65536 (width of the "
            "residual stream)");
  EXPECT_THAT(refused("model: {d_model: [1, 2]}"),
              HasSubstr("model.d_model is a list, but it must be a whole number"));
  EXPECT_THAT(refused("model: {d_model: {a: 1}}"), HasSubstr("is a map"));
  EXPECT_THAT(refused("model: {d_model: 1.5}"), HasSubstr("is '1.5', but it must be a whole number"));
  EXPECT_THAT(refused("model: {d_model: 5 steps}"), HasSubstr("is '5 steps'"));
  EXPECT_THAT(refused("model: {d_model:}"), HasSubstr("model.d_model has no value"));
  EXPECT_THAT(refused("model: {system: sissa}"),
              HasSubstr("r.yaml:1: model.system is 'sissa', but it must be transformer, sisa, "));
  EXPECT_THAT(refused("optimizer: {sharded: yes}"), HasSubstr("is 'yes', but it must be true or false"));
  EXPECT_THAT(refused("optimizer: {clip: much}"),
              HasSubstr("is 'much', but it must be a number x with 0 <= x "));
  EXPECT_THAT(refused("run: {seed: -1}"), HasSubstr("is '-1', but it must be a whole number from 0"));
  EXPECT_THAT(refused("run: {seed: 18446744073709551616}"), HasSubstr("run.seed"));
  EXPECT_THAT(refused("run: {output: [a]}"), HasSubstr("run.output is a list, but it must be a path"));
  EXPECT_THAT(refused("data: {tokenizer: {a: 1}}"), HasSubstr("data.tokenizer is a map"));
  EXPECT_THAT(refused("model: 3"), HasSubstr("section 'model' holds '3', but it must hold keys with values"));
  EXPECT_THAT(refused("model:\n"), HasSubstr("section 'model' holds nothing"));
  EXPECT_THAT(refused("- 1\n"),
              HasSubstr("a recipe is a map of sections, such as `model:`, but this is a list"));
  EXPECT_THAT(refused(""), StartsWith("r.yaml: a recipe is a map of sections"));
}

TEST(Recipe, OutOfRange) {
  EXPECT_THAT(refused_set("model.d_model=-32"),
              StartsWith("--set: model.d_model is '-32', but it must be a whole number"));
  EXPECT_THAT(refused_set("model.d_model=0"), HasSubstr("from 1 to 65536"));
  EXPECT_THAT(refused_set("model.d_model=1e99"), HasSubstr("from 1 to 65536"));
  EXPECT_THAT(refused_set("checkpoint.keep_last=0"), HasSubstr("a whole number from 1"));
  EXPECT_THAT(refused_set("data.validation=0.6"),
              HasSubstr("must be a share x with 0 <= x <= 0.5, or a file or folder"));
  EXPECT_THAT(refused_set("optimizer.beta1=1"), HasSubstr("must be a number x with 0 <= x < 1"));
  EXPECT_THAT(refused_set("optimizer.learning_rate=0"), HasSubstr("must be a number x with 0 < x <= 10"));
  EXPECT_THAT(refused_set("optimizer.learning_rate=nan"), HasSubstr("optimizer.learning_rate is 'nan'"));
  EXPECT_THAT(refused_set("optimizer.clip=inf"), HasSubstr("optimizer.clip is 'inf'"));
  EXPECT_THAT(refused_set("train.micro_batch=0"), HasSubstr("train.micro_batch"));
  EXPECT_THAT(refused_set("train.recompute=100"),
              HasSubstr("train.recompute is 100; it must be at most model.num_layers, which is"));
  EXPECT_THAT(refused_set("train.warmup_start=one"),
              HasSubstr("train.warmup_start is 'one', but it must be zero or first_step"));
  EXPECT_THAT(refused_set("run.init_from=[a]"), HasSubstr("run.init_from is a list, but it must be a path"));
}

TEST(Recipe, BadUnits) {
  EXPECT_THAT(refused_set("train.max_tokens=500 steps"),
              HasSubstr("train.max_tokens is '500 steps', but it must be a whole number of tokens"));
  EXPECT_THAT(refused_set("train.max_tokens=5 lemons"), HasSubstr("is '5 lemons'"));
  EXPECT_THAT(refused_set("train.warmup=500"),
              HasSubstr("is '500', but it must be a whole number of steps or tokens, with its unit ('500 "
                        "steps' or '1B tokens'); 0: none"));
  EXPECT_THAT(refused_set("evaluation.every=30min"), HasSubstr("evaluation.every is '30min'"));
  EXPECT_THAT(refused_set("checkpoint.every=1.5 steps"), HasSubstr("checkpoint.every is '1.5 steps'"));
  EXPECT_THAT(refused_set("checkpoint.every=-3 steps"), HasSubstr("checkpoint.every is '-3 steps'"));
  EXPECT_THAT(refused_set("checkpoint.every=[1]"), HasSubstr("checkpoint.every is a list"));
  EXPECT_THAT(refused_set("log.monitors=30min"),
              HasSubstr("log.monitors is '30min', but it must be a whole number of steps or tokens"));
}

TEST(Recipe, BadSources) {
  EXPECT_THAT(refused("data:\n  sources: text.txt\n"),
              HasSubstr("r.yaml:2: data.sources is 'text.txt', but it must be a list of {path: FILE OR "
                        "FOLDER, weight: NUMBER}"));
  EXPECT_THAT(refused("data: {sources: [a.txt]}"),
              HasSubstr("data.sources is 'a.txt', but it must be a list"));
  EXPECT_THAT(refused("data: {sources: [{weight: 2}]}"),
              HasSubstr("data.sources has an item (r.yaml:1) without a path"));
  EXPECT_THAT(refused("data:\n  sources:\n    - path: a\n    - path: b\n      wieght: 2\n"),
              HasSubstr("data.sources has an item (r.yaml:5) whose 'wieght' is no key of a source; the keys "
                        "are path or weight"));
  EXPECT_THAT(refused("data: {sources: [{path: a, weight: -1}]}"),
              HasSubstr("whose 'weight' is '-1', but it must be a number x with 0 < x"));
}

TEST(Recipe, DuplicatesAndSyntax) {
  EXPECT_THAT(refused("model:\n  d_ff: 1\n  d_ff: 2\n"),
              StartsWith("r.yaml:3: 'd_ff' stands here a second time"));
  EXPECT_THAT(refused("model: {d_ff: 1}\nmodel: {d_ff: 1}\n"),
              StartsWith("r.yaml:2: 'model' stands here a second time"));
  EXPECT_THAT(refused("model:\n\td_ff: 1\n"), StartsWith("r.yaml:2: this is not valid YAML"));
}

TEST(Recipe, MalformedOverrides) {
  for (const std::string option :
       {"model.d_model", "d_model=3", "=3", ".d_model=3", "model.=3", "", "d_model=a.b"})
    EXPECT_EQ(refused_set(option),
              fmt::format("--set {}: write section.key=value, such as --set train.batch=65536.", option));
  EXPECT_EQ(refused_set("model.d_model="), "--set: model.d_model has no value; write one, or `default`.");
  EXPECT_THAT(refused_set("data.sources=[{path: a"), StartsWith("--set: this is not valid YAML"));
}

TEST(Recipe, CombinationsNameAllPlaces) {
  EXPECT_EQ(refused("model:\n  d_model: 30\n  num_heads: 4\n").substr(0, 20), "r.yaml:2, r.yaml:3: ");
  EXPECT_THAT(refused_set("model.num_heads=3"),
              AllOf(StartsWith("r.yaml:2, --set: "), HasSubstr("d_model"), HasSubstr("num_heads")));
  EXPECT_EQ(refused_set("train.batch=400"),
            "--set, r.yaml:3: train.batch is 400 tokens, no multiple of data.sequence_length, 32; the "
            "nearest are 384 and 416.");
  EXPECT_THAT(refused_set("train.batch=31"), EndsWith("the nearest is 32."));
  EXPECT_THAT(refused_set("train.max_tokens=383"),
              HasSubstr("train.max_tokens is 383, less than one step of train.batch, 384"));
  EXPECT_THAT(refused_set("train.warmup=50 steps"),
              HasSubstr("train.warmup takes 50 steps, but the run has 50"));
  EXPECT_THAT(refusal([] {
                parse(small, {"train.schedule=wsd", "train.cooldown=0.95"});
              }),
              HasSubstr("train.warmup takes 5 steps and train.cooldown 48, but the run has 50"));
  EXPECT_EQ(refused_set("model.vocab_size=200"),
            "--set, r.yaml:3: model.vocab_size is 200, but the tokenizer `bytes` has 257 tokens.");
  EXPECT_THAT(refusal([] {
                parse(small, {"run.device=cuda", "run.precision=fp64"});
              }),
              HasSubstr("run.precision is fp64"));
}

TEST(Recipe, KeysWithoutAMeaningAreRefused) {
  EXPECT_THAT(refused_set("model.system=transformer"),
              AllOf(StartsWith("r.yaml:2: model.d_state has a meaning only with model.system: sisa, "),
                    HasSubstr("; remove it or set it to `default`.")));
  EXPECT_THAT(refused_set("model.clamp=9"), HasSubstr("only with model.offset: minimax"));
  EXPECT_THAT(refused_set("train.cooldown=0.1"), HasSubstr("only with train.schedule: wsd"));
  const std::string transformer = "model: {system: transformer, d_ff: 8}";
  EXPECT_THAT(refusal([&] { parse(transformer, {"log.monitors=5 steps"}); }),
              AllOf(StartsWith("--set: log.monitors has a meaning only with model.system: sisa, "),
                    HasSubstr("; remove it or set it to `default`.")));
}

TEST(Recipe, ReadinessToTrain) {
  const auto refused_on = [](int ranks, const std::vector<std::string>& overrides) {
    return refusal([&] { check_ready_to_train(parse(small, overrides), ranks); });
  };
  const std::string output = "run.output=x", sources = "data.sources=[{path: a}]";
  EXPECT_THAT(refused_on(1, {sources}), HasSubstr("run.output is not set"));
  EXPECT_THAT(refused_on(1, {output}), HasSubstr("data.sources is not set"));
  EXPECT_THAT(refused_on(1, {output, sources, "data.tokenizer=default"}),
              HasSubstr("data.tokenizer is not set"));
  EXPECT_THAT(refused_on(13, {output, sources}),
              AllOf(HasSubstr("12 samples"), HasSubstr("13 ranks"), HasSubstr("416 tokens")));
  EXPECT_EQ(refused_on(12, {output, sources}), "");
}

TEST_F(RecipeFiles, LaterFilesWin) {
  write("base/a.yaml", "model: {d_model: 64, num_layers: 3}\ndata: {sources: [{path: a}, {path: b}]}\n");
  write("base/b.yaml", "extends: a.yaml\nmodel: {num_layers: 4, vocab_size: 300}\n");
  write("c.yaml", "model: {vocab_size: 400}\ndata: {sources: [{path: c}]}\n");
  const fs::path top = write("top.yaml", "model: {num_heads: 4}\nextends: [base/b.yaml, c.yaml]\n");
  const Recipe r = load_recipe(top, std::vector<std::string>{"model.num_heads=2", "model.num_heads=8"});
  EXPECT_EQ(r.model.d_model, 64);
  EXPECT_EQ(r.model.num_layers, 4);
  EXPECT_EQ(r.model.vocab_size, 400);
  EXPECT_EQ(r.model.whole("num_heads"), 8);
  ASSERT_EQ(r.data.sources.size(), 1u);
  EXPECT_EQ(r.data.sources[0].path, "c");
  EXPECT_EQ(r.origins.at("model.d_model"), (folder_ / "base/a.yaml").string() + ":1");
  EXPECT_EQ(r.origins.at("model.num_heads"), "--set");
}

TEST_F(RecipeFiles, ABaseServesSeveralSystems) {
  write("base/a.yaml", "model: {d_state: 8, offset: minimax, clamp: 9}\ntrain: {cooldown: 0.1}\n");
  const Recipe sisa = load_recipe(write("s.yaml", "extends: base/a.yaml\n"));
  EXPECT_EQ(sisa.model.whole("d_state"), 8);
  EXPECT_EQ(sisa.model.real("clamp"), 9);
  EXPECT_FALSE(sisa.origins.contains("train.cooldown"));
  const fs::path top = write("t.yaml", "extends: base/a.yaml\nmodel: {system: transformer}\n");
  const Recipe transformer = load_recipe(top);
  for (const std::string key : {"model.d_state", "model.offset", "model.clamp", "train.cooldown"})
    EXPECT_FALSE(transformer.origins.contains(key)) << key;
  EXPECT_FALSE(transformer.model.settings.contains("offset"));
  EXPECT_THAT(print_recipe(transformer), AllOf(Not(HasSubstr("d_state")), Not(HasSubstr("offset"))));
  // The recipe itself and --set are as strict as ever, also where a base says the same.
  EXPECT_THAT(refusal([&] { load_recipe(top, std::vector<std::string>{"model.d_state=16"}); }),
              StartsWith("--set: model.d_state has a meaning only with model.system: sisa"));
  EXPECT_THAT(refused(write("o.yaml",
                            "extends: base/a.yaml\n"
                            "model: {system: transformer, d_state: 8}\n")),
              StartsWith((folder_ / "o.yaml").string() + ":2: model.d_state has a meaning only with"));
  // What is left out is read all the same: a mistake in a base shows with every system.
  write("base/b.yaml", "model: {d_state: wide}\n");
  EXPECT_THAT(refused(write("w.yaml", "extends: base/b.yaml\nmodel: {system: transformer}\n")),
              StartsWith((folder_ / "base/b.yaml").string() + ":1: model.d_state is 'wide'"));
}

TEST_F(RecipeFiles, OverlaysComeBetweenTheRecipeAndSet) {
  write("base/a.yaml", "model: {num_layers: 5, clamp: 7}\n");
  const std::vector<fs::path> overlays = {
      write("x.yaml", "extends: base/a.yaml\nmodel: {vocab_size: 300, offset: minimax}\n"),
      write("y.yaml", "model: {vocab_size: 400}\n")};
  const fs::path top =
      write("top.yaml", "model: {num_layers: 3, vocab_size: 500, num_heads: 4, d_model: 64}\n");
  const Recipe r = load_recipe(top, std::vector<std::string>{"model.d_model=128"}, overlays);
  EXPECT_EQ(r.model.num_layers, 5);
  EXPECT_EQ(r.model.vocab_size, 400);
  EXPECT_EQ(r.model.whole("num_heads"), 4);
  EXPECT_EQ(r.model.d_model, 128);
  EXPECT_EQ(r.model.real("clamp"), 7);
  EXPECT_EQ(r.origins.at("model.offset"), (folder_ / "x.yaml").string() + ":2");
  const Recipe transformer = load_recipe(top, std::vector<std::string>{"model.system=transformer"}, overlays);
  EXPECT_EQ(transformer.model.vocab_size, 400);
  EXPECT_FALSE(transformer.origins.contains("model.offset"));
  EXPECT_THAT(refusal([&] { load_recipe(top, {}, std::vector<fs::path>{folder_ / "gone.yaml"}); }),
              AllOf(HasSubstr("gone.yaml"), HasSubstr("no such file")));
}

TEST_F(RecipeFiles, DefaultTakesBack) {
  write("base/a.yaml", "model: {num_layers: 3, num_heads: 4}\n");
  const Recipe r = load_recipe(write("top.yaml", "extends: base/a.yaml\nmodel: {num_layers: default}\n"));
  EXPECT_EQ(r.model.num_layers, model::ModelConfig().num_layers);
  EXPECT_FALSE(r.origins.contains("model.num_layers"));
}

TEST_F(RecipeFiles, ErrorsNameTheFileThatIsWrong) {
  write("base/a.yaml", "model:\n  d_model: thick\n");
  const fs::path top = write("top.yaml", "extends: base/a.yaml\n");
  EXPECT_THAT(refused(top), StartsWith((folder_ / "base/a.yaml").string() + ":2: model.d_model is 'thick'"));
}

TEST_F(RecipeFiles, SameBaseTwiceIsNoCircle) {
  write("base/a.yaml", "model: {num_layers: 3}\n");
  write("b.yaml", "extends: base/a.yaml\n");
  EXPECT_EQ(load_recipe(write("top.yaml", "extends: [b.yaml, base/a.yaml]\n")).model.num_layers, 3);
}

TEST_F(RecipeFiles, MissingFilesAndCircles) {
  EXPECT_THAT(refused(folder_ / "no-such.yaml"), AllOf(HasSubstr("no-such.yaml"), HasSubstr("no such file")));
  EXPECT_THAT(refused(folder_), HasSubstr("is a folder"));
  EXPECT_THAT(refused(write("m.yaml", "extends: gone.yaml\n")), HasSubstr("m.yaml:1: extends names"));
  EXPECT_THAT(refused(write("self.yaml", "run: {seed: 1}\nextends: base/../self.yaml\n")),
              HasSubstr("self.yaml:2: extends leads in a circle"));
  write("x.yaml", "extends: y.yaml\n");
  EXPECT_THAT(refused(write("y.yaml", "extends: [x.yaml]\n")),
              HasSubstr("x.yaml:1: extends leads in a circle, back to"));
  EXPECT_THAT(refused(write("l.yaml", "extends: {a: b}\n")),
              HasSubstr("extends is a map, but it must be a file or a list of files"));
  EXPECT_THAT(refused(write("n.yaml", "extends: [[a]]\n")), HasSubstr("extends is a list"));
}

// Each file extends the one before it twice, so that the last leads to 2^30 readings.
TEST_F(RecipeFiles, ExtendsEndsSoon) {
  write("0.yaml", "run: {seed: 1}\n");
  for (int i = 1; i <= 30; ++i)
    write(fmt::format("{}.yaml", i), fmt::format("extends: [{}.yaml, {}.yaml]\n", i - 1, i - 1));
  EXPECT_THAT(refused(folder_ / "30.yaml"), HasSubstr("extends leads to more than 100 files"));
}

TEST_F(RecipeFiles, OnlyRegularFilesOfARecipesSizeAreRead) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(refused(folder_ / "pipe"), HasSubstr("pipe is a pipe"));
  EXPECT_THAT(refused(write("p.yaml", "extends: pipe\n")), HasSubstr("pipe is a pipe"));
  EXPECT_THAT(refused(write("z.yaml", "extends: /dev/zero\n")), HasSubstr("/dev/zero is a device"));
  EXPECT_THAT(refused(write("large.yaml", std::string(2'000'000, '#'))),
              HasSubstr("more than 1,048,576 bytes"));
}

TEST_F(RecipeFiles, NeitherNestingNorAliasesAreWithoutEnd) {
  EXPECT_THAT(refused(write("deep.yaml", "run: " + std::string(500'000, '['))), HasSubstr("not valid YAML"));
  std::string bombs = "a: &a [x, x]\n";
  for (char c = 'b'; c < 'z'; ++c)
    bombs += fmt::format("{}: &{} [*{}, *{}, *{}, *{}]\n", c, c, static_cast<char>(c - 1),
                         static_cast<char>(c - 1), static_cast<char>(c - 1), static_cast<char>(c - 1));
  EXPECT_THAT(refused(write("many.yaml", bombs)), HasSubstr("more than 10000 values"));
  std::string long_text = "a: &a " + std::string(500'000, 'x') + "\nb: [";
  for (int i = 0; i < 100; ++i) long_text += "*a, ";
  EXPECT_THAT(refused(write("long.yaml", long_text + "*a]\n")), HasSubstr("the values have more than"));
}

}  // namespace
}  // namespace sisa::launcher
