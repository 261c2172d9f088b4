#include "launcher/run/recipe_changes.h"

#include <gmock/gmock.h>

#include "common/text.h"
#include "launcher/recipe/keys.h"
#include "tests/launcher/refusal.h"

namespace sisa::launcher {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using tests::refusal;

const std::string base = R"(
data: {tokenizer: bytes, sources: [{path: text.txt}], sequence_length: 32}
model: {vocab_size: 257, d_model: 32, num_layers: 1, num_heads: 2, d_ff: 32, d_state: 4}
train: {max_tokens: 2560, batch: 128, warmup: 4 steps}
)";

Recipe with(const std::vector<std::string>& overrides = {}) {
  return parse_recipe(base, "r.yaml", overrides);
}

std::vector<std::string> texts(const std::vector<RecipeChange>& changes) {
  std::vector<std::string> result;
  for (const auto& [key, was, now, rule] : changes)
    result.push_back(fmt::format("{}: {} -> {}{}", key, was, now, rule == Change::refused ? "!" : ""));
  return result;
}

TEST(RecipeChanges, NoneBetweenEqualRecipes) {
  EXPECT_THAT(recipe_changes(with(), with()), IsEmpty());
}

TEST(RecipeChanges, EachWithBothValues) {
  const Recipe now =
      with({"run.seed=2", "optimizer.learning_rate=6e-3", "optimizer.lambda_lr=6e-4", "train.batch=256",
            "data.sources=[{path: text.txt}, {path: more.txt, weight: 2}]"});
  EXPECT_THAT(
      texts(recipe_changes(with({"optimizer.lambda_lr=1e-4"}), now)),
      ElementsAre("run.seed: 1 -> 2",
                  "data.sources: [{path: text.txt, weight: 1}] -> [{path: text.txt, weight: 1}, "
                  "{path: more.txt, weight: 2}]",
                  "train.batch: 128 tokens -> 256 tokens!", "optimizer.learning_rate: 0.0006 -> 0.006",
                  "optimizer.lambda_lr: 0.0001 -> 0.0006"));
}

TEST(RecipeChanges, WhatDoesNotMatterToTheResultIsFree) {
  EXPECT_THAT(
      recipe_changes(with(), with({"run.output=elsewhere", "run.threads=3", "train.micro_batch=1",
                                   "train.recompute=1", "optimizer.sharded=false", "checkpoint.every=7 steps",
                                   "checkpoint.keep_last=9", "evaluation.every=9 steps", "log.every=5"})),
      IsEmpty());
}

TEST(RecipeChanges, AKeyThatAnotherOneBringsIsNotNamed) {
  EXPECT_THAT(texts(recipe_changes(with(), with({"train.schedule=wsd", "train.cooldown=0.5"}))),
              ElementsAre("train.schedule: cosine -> wsd"));
}

// Networks of equal shapes that compute something else: the check of shapes cannot see them.
TEST(RecipeChanges, TheNetworkAndItsTokensAreRefused) {
  for (const char* change : {"model.rope_base=500", "model.num_heads=4", "model.rotation=none",
                             "model.lambda=fixed", "model.offset=minimax", "data.tokenizer=other.json"}) {
    const auto changes = recipe_changes(with(), with({change}));
    ASSERT_EQ(changes.size(), 1u) << change;
    EXPECT_EQ(changes[0].rule, Change::refused) << change;
  }
}

TEST(RecipeChanges, AKeyThatTheCheckpointLacksHadItsDefault) {
  std::string older = print_recipe(with());
  const std::string line = "  warmup_start: zero\n";
  ASSERT_THAT(older, HasSubstr(line));
  older.erase(older.find(line), line.size());
  const Comparison same = compare_recipes(older, "run/checkpoints/step-5", with());
  EXPECT_THAT(same.changes, IsEmpty());
  EXPECT_EQ(same.problem, "");
  EXPECT_THAT(
      texts(
          compare_recipes(older, "run/checkpoints/step-5", with({"train.warmup_start=first_step"})).changes),
      ElementsAre("train.warmup_start: zero -> first_step"));
}

TEST(RecipeChanges, ARecipeOfAnotherProgramIsNotCompared) {
  const Comparison comparison = compare_recipes("train: {momentum: 3}\n", "run/checkpoints/step-5", with());
  EXPECT_THAT(comparison.changes, IsEmpty());
  EXPECT_THAT(comparison.problem, AllOf(HasSubstr("run/checkpoints/step-5"), HasSubstr("momentum")));
}

TEST(RecipeChanges, TheRefusalNamesTheWaysOut) {
  const auto changes = recipe_changes(with(), with({"run.seed=2", "train.batch=256", "model.rope_base=500"}));
  const std::filesystem::path checkpoint = "runs/a/checkpoints/step-10";
  EXPECT_THAT(refusal([&] { check_changes(changes, {}, checkpoint); }),
              AllOf(HasSubstr("train.batch was 128 tokens and is now 256 tokens"),
                    HasSubstr("model.rope_base was 10000 and is now 500"), HasSubstr("--from runs/a@10"),
                    HasSubstr("--allow-change model.rope_base --allow-change train.batch"),
                    Not(HasSubstr("run.seed"))));
  const std::vector<std::string> one = {"train.batch"}, both = {"train.batch", "model.rope_base"};
  EXPECT_THAT(refusal([&] { check_changes(changes, one, checkpoint); }),
              AllOf(HasSubstr("model.rope_base"), Not(HasSubstr("train.batch"))));
  EXPECT_EQ(refusal([&] { check_changes(changes, both, checkpoint); }), "");
}

}  // namespace
}  // namespace sisa::launcher
