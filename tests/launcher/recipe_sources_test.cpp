// Sources in a recipe: paths and synthetic tasks.
#include "launcher/recipe/sources.h"

#include "launcher/recipe/recipe.h"
#include "tests/launcher/refusal.h"

namespace sisa::launcher {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using tests::refusal;

const std::string head = R"(run: {output: x}
model: {vocab_size: 64, d_model: 32, num_heads: 2, d_ff: 48}
train: {max_tokens: 19200 tokens, batch: 384 tokens, warmup: 5 steps}
data:
  sequence_length: 32
)";

Recipe parse(const std::string& sources, const std::vector<std::string>& overrides = {}) {
  return parse_recipe(head + "  sources: " + sources + "\n", "r.yaml", overrides);
}
std::string refused(const std::string& sources, const std::vector<std::string>& overrides = {}) {
  return refusal([&] { parse(sources, overrides); });
}

TEST(RecipeSources, ReadsTasksBesidePaths) {
  const Recipe recipe =
      parse("[{path: a}, {weight: 3, num_pairs: 4, filler: zero, power_a: 50%, task: mqar}]");
  const std::vector<Source>& sources = recipe.data.sources;
  ASSERT_EQ(sources.size(), 2u);
  EXPECT_FALSE(sources[0].is_task());
  EXPECT_EQ(sources[0].path, "a");
  ASSERT_TRUE(sources[1].is_task());
  EXPECT_EQ(sources[1].weight, 3);
  EXPECT_EQ(sources[1].task.name, "mqar");
  EXPECT_EQ(sources[1].task.samples, 0);
  EXPECT_EQ(sources[1].task.held_out, 1000);
  EXPECT_EQ(
      sources[1].task.values,
      (std::map<std::string, double>{{"num_pairs", 4}, {"filler", 1}, {"power_a", 0.5}, {"vocab_size", 0}}));
}

TEST(RecipeSources, PrintsTasksWithAllTheirKeys) {
  const std::string printed = print_recipe(
      parse("[{task: mqar, num_pairs: 4}, {path: b, weight: 2}, {task: parity, samples: 1M, held_out: 7}]"));
  EXPECT_THAT(printed,
              HasSubstr("\n  sources:\n"
                        "    - {task: mqar, weight: 1, samples: 0, held_out: 1000, num_pairs: 4, power_a: "
                        "0.01, filler: random, vocab_size: 0}\n"
                        "    - {path: b, weight: 2}\n"
                        "    - {task: parity, weight: 1, samples: 1000000, held_out: 7, predict: each}\n"));
  EXPECT_EQ(print_recipe(parse_recipe(printed, "printed")), printed);
}

TEST(RecipeSources, NamesWhatWasMeant) {
  EXPECT_EQ(
      refused("[{task: mqra}]"),
      "r.yaml:6: data.sources has an item (r.yaml:6) whose 'task' is 'mqra', but it must be mqar, niah, "
      "induction, selective_copying or parity (raw texts, folders of `sisa data prepare`, tokens of llm.c, "
      "Megatron-LM or the published code, or synthetic tasks; samples are drawn in proportion to weight; "
      "needed to train. Keys: below)");
  EXPECT_THAT(
      refused("\n    - {path: a}\n    - {task: mqar, pairs: 8}"),
      StartsWith("r.yaml:6: data.sources has an item (r.yaml:8) whose 'pairs' is no key of the task mqar; "
                 "the keys are task, weight, samples, held_out, num_pairs, power_a, filler or vocab_size"));
  EXPECT_THAT(refused("[{task: mqar, num_pair: 8}]"),
              HasSubstr("whose 'num_pair' is no key of the task mqar; did you mean 'num_pairs'?"));
  EXPECT_THAT(refused("[{task: parity, path: a}]"), HasSubstr("whose 'path' is no key of the task parity"));
  EXPECT_THAT(refused("[{path: a, num_pairs: 8}]"), HasSubstr("whose 'num_pairs' is no key of a source"));
  EXPECT_THAT(refused("[{path: ''}]"), HasSubstr("has an item (r.yaml:6) whose path is empty"));
  EXPECT_THAT(refused("[{weight: 1}]"), HasSubstr("has an item (r.yaml:6) without a path or a task"));
  EXPECT_THAT(refused("[{task: [mqar]}]"), HasSubstr("whose 'task' is a list, but it must be mqar, "));
}

TEST(RecipeSources, RefusesValuesOutOfRange) {
  const auto refused_mqar = [](const std::string& keys) { return refused("[{task: mqar, " + keys + "}]"); };
  EXPECT_THAT(refused_mqar("num_pairs: 0"),
              HasSubstr("whose 'num_pairs' is '0', but it must be a whole number from 1 to 1048576"));
  EXPECT_THAT(refused_mqar("num_pairs: 1.5"), HasSubstr("'num_pairs' is '1.5'"));
  EXPECT_THAT(refused_mqar("power_a: 1.1"),
              HasSubstr("'power_a' is '1.1', but it must be a number x with 0 <= x <= 1"));
  EXPECT_THAT(refused_mqar("filler: noise"), HasSubstr("'filler' is 'noise', but it must be random or zero"));
  EXPECT_THAT(refused_mqar("samples: -1"),
              HasSubstr("'samples' is '-1', but it must be a whole number from 0"));
  EXPECT_THAT(refused_mqar("held_out: many"), HasSubstr("'held_out' is 'many'"));
  EXPECT_THAT(refused_mqar("weight: 0"), HasSubstr("'weight' is '0', but it must be a number x with 0 < x"));
}

TEST(RecipeSources, RefusesTasksThatDoNotFitTheSequence) {
  EXPECT_EQ(
      refused("[{task: parity}, {task: mqar, num_pairs: 9}]"),
      "r.yaml:6, r.yaml:5, r.yaml:2: The task mqar takes at least 36 tokens a sample (num_pairs 9: 2 a pair "
      "and 2 a query), but data.sequence_length is 32. Choose longer sequences, or ask for less in them.");
  EXPECT_THAT(refused("[{task: mqar}]", {"model.vocab_size=17"}),
              AllOf(StartsWith("r.yaml:6, r.yaml:5, --set: "), HasSubstr("18 token ids"),
                    HasSubstr("model.vocab_size is 17")));
}

TEST(RecipeSources, OnlyTextNeedsATokenizer) {
  const auto not_ready = [](const std::string& sources) {
    return refusal([&] { check_ready_to_train(parse(sources), 1); });
  };
  EXPECT_EQ(not_ready("[{task: parity}]"), "");
  EXPECT_THAT(not_ready("[{task: parity}, {path: a}]"), HasSubstr("data.tokenizer is not set"));
}

}  // namespace
}  // namespace sisa::launcher
