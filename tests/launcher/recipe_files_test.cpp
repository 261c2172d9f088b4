// The recipes that come with the program, and the page that describes their keys.
#include <gmock/gmock.h>

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <vector>

#include "common/file.h"
#include "launcher/recipe/keys.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/plan.h"
#include "model/costs.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;

const fs::path root = fs::path(SISA_TEST_DATA) / "../..";

TEST(RecipeFolder, EveryRecipeCanBePlanned) {
  int num_recipes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root / "recipes")) {
    if (entry.path().extension() != ".yaml") continue;
    SCOPED_TRACE(entry.path().string());
    ++num_recipes;
    const Recipe recipe = load_recipe(entry.path());
    EXPECT_GT(make_plan(recipe, 1).num_parameters, 0);
    EXPECT_EQ(print_recipe(parse_recipe(print_recipe(recipe), "printed")), print_recipe(recipe));
  }
  EXPECT_GE(num_recipes, 36);
}

// Parameters by scale and name: the spec's budgets table, and for the controls d_ff as near to the
// Transformer's count as it comes.
const std::map<std::string, std::map<std::string, int64_t>> budgets = {
    {"50m",
     {{"transformer", 50'914'304},
      {"sisa-d16", 50'917'472},
      {"sisa-d32", 50'914'400},
      {"sisa-d64", 50'917'472},
      {"sisa-d128", 50'914'400},
      {"controls/no-decay", 50'917'424},
      {"controls/no-rotation", 50'917'472},
      {"controls/fixed-lambda", 50'914'352},
      {"controls/bilinear", 50'911'280},
      {"controls/transformer-sisa-d32-ff", 48'923'648}}},
    {"152m",
     {{"transformer", 151'878'144},
      {"sisa-d16", 151'878'432},
      {"sisa-d32", 151'878'432},
      {"sisa-d64", 151'878'432},
      {"sisa-d128", 151'878'432},
      {"controls/no-decay", 151'878'288},
      {"controls/no-rotation", 151'878'432},
      {"controls/fixed-lambda", 151'878'288},
      {"controls/bilinear", 151'878'288},
      {"controls/transformer-sisa-d32-ff", 142'920'192}}},
    {"369m",
     {{"transformer", 369'252'352},
      {"sisa-d16", 369'228'544},
      {"sisa-d32", 369'253'120},
      {"sisa-d64", 369'228'544},
      {"sisa-d128", 369'253'120},
      {"controls/no-decay", 369'228'160},
      {"controls/no-rotation", 369'228'544},
      {"controls/fixed-lambda", 369'252'736},
      {"controls/bilinear", 369'277'312},
      {"controls/transformer-sisa-d32-ff", 337'401'856}}}};

fs::path paper(const std::string& scale, const std::string& name) {
  return root / "recipes/paper" / scale / (name + ".yaml");
}

TEST(RecipeFolder, ThePapersHaveThePublishedSizes) {
  size_t num_recipes = 0;
  for (const auto& [scale, systems] : budgets)
    for (const auto& [name, num_parameters] : systems) {
      SCOPED_TRACE(scale + "/" + name);
      const Recipe recipe = load_recipe(paper(scale, name));
      const Plan plan = make_plan(recipe, 8);
      EXPECT_EQ(plan.num_parameters, num_parameters);
      EXPECT_EQ(plan.tokens_per_step, 524'288);
      EXPECT_EQ(plan.steps, 9'536);
      EXPECT_EQ(recipe.optimizer.learning_rate, scale == "369m" ? 3e-4 : 6e-4);
      EXPECT_EQ(recipe.warmup_steps(), scale == "369m" ? 2000 : 500);
      EXPECT_EQ(recipe.model.d_model / recipe.model.whole("num_heads"), 64);
      ++num_recipes;
    }
  size_t num_files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root / "recipes/paper")) {
    const fs::path name = entry.path().filename();
    num_files += name.extension() == ".yaml" && name != "base.yaml" && name != "published.yaml";
  }
  EXPECT_EQ(num_recipes, num_files);  // the table holds them all
}

TEST(RecipeFolder, ControlsHaveTheTransformersBudget) {
  for (const auto& [scale, systems] : budgets)
    for (const std::string name : {"no-decay", "no-rotation", "fixed-lambda", "bilinear"}) {
      SCOPED_TRACE(scale + "/" + name);
      const model::ModelConfig config = load_recipe(paper(scale, "controls/" + name)).model;
      const int64_t unit = 3 * config.d_model * config.num_layers;  // parameters that one of d_ff holds
      EXPECT_LE(std::abs(model::num_parameters(config) - systems.at("transformer")), unit / 2);
      EXPECT_EQ(config.whole("d_state"), 32);
      EXPECT_EQ(config.choice("decay") == "none", name == "no-decay" || name == "bilinear");
      EXPECT_EQ(config.choice("rotation") == "none", name == "no-rotation" || name == "bilinear");
      EXPECT_EQ(config.choice("lambda") == "fixed", name == "fixed-lambda");
    }
  for (const auto& [scale, systems] : budgets)
    EXPECT_EQ(load_recipe(paper(scale, "controls/transformer-sisa-d32-ff")).model.d_ff,
              load_recipe(paper(scale, "sisa-d32")).model.d_ff);
}

TEST(RecipeFolder, PublishedLiesOverAnyRecipe) {
  const std::vector<fs::path> published = {root / "recipes/paper/published.yaml"};
  for (const auto& [name, num_parameters] : budgets.at("152m")) {
    SCOPED_TRACE(name);
    const Recipe plain = load_recipe(paper("152m", name));
    const Recipe recipe = load_recipe(paper("152m", name), {}, published);
    EXPECT_EQ(recipe.run.precision, common::Precision::bf16_pure);
    EXPECT_EQ(recipe.optimizer.weight_decay_on, parallel::WeightDecayOn::all);
    EXPECT_EQ(recipe.run.device, "cuda");
    EXPECT_EQ(make_plan(recipe, 8).num_parameters, num_parameters);
    const bool is_sisa = recipe.model.system == "sisa";
    EXPECT_EQ(recipe.model.settings.contains("offset"), is_sisa);
    if (is_sisa) {
      EXPECT_EQ(recipe.model.choice("offset"), "minimax");
    }
    EXPECT_EQ(recipe.origins.contains("model.offset"), is_sisa);

    // The same from `extends`, and over a recipe that states every key.
    const std::string both =
        fmt::format("extends: [{}, {}]\n", paper("152m", name).string(), published[0].string());
    EXPECT_EQ(print_recipe(parse_recipe(both, "both.yaml")), print_recipe(recipe));
    const fs::path printed = fs::temp_directory_path() / fmt::format("sisa-printed-{}.yaml", getpid());
    common::write_file_atomically(printed, print_recipe(plain));
    EXPECT_EQ(print_recipe(load_recipe(printed, {}, published)), print_recipe(recipe));
    fs::remove(printed);
  }
}

TEST(RecipeFolder, MemoryFollowsTheRanks) {
  const Recipe recipe = load_recipe(root / "recipes/paper/152m/transformer.yaml");
  const Plan one = make_plan(recipe, 1), eight = make_plan(recipe, 8);
  // bf16 values; fp32 gradients, masters and moments. Padding of stored widths adds little.
  const auto n = static_cast<double>(one.num_parameters);
  EXPECT_NEAR(static_cast<double>(one.memory.values), 2 * n, 0.01 * n);
  EXPECT_NEAR(static_cast<double>(one.memory.gradients), 4 * n, 0.01 * n);
  EXPECT_NEAR(static_cast<double>(one.memory.masters), 4 * n, 0.01 * n);
  EXPECT_NEAR(static_cast<double>(one.memory.moments), 8 * n, 0.01 * n);
  EXPECT_NEAR(static_cast<double>(eight.memory.moments), n, 0.01 * n);
  EXPECT_NEAR(static_cast<double>(eight.memory.gradients), 4 * n, 0.01 * n);
  // 6 N + 12 L d T
  EXPECT_DOUBLE_EQ(one.flops.usual, 6.0 * 151'878'144 + 12.0 * 12 * 768 * 2048);
}

// Tokens' part is counted in model.counts_test.
TEST(RecipeFolder, BytesOfATokenFollowMicroBatchAndRanks) {
  const auto bytes = [](int64_t ranks, const std::vector<std::string>& settings) {
    return make_plan(load_recipe(root / "recipes/paper/152m/transformer.yaml", settings), ranks).bytes;
  };
  const Recipe recipe = load_recipe(root / "recipes/paper/152m/transformer.yaml");
  const double activations = model::activation_bytes(recipe.model, recipe.data.sequence_length);
  const double N = 151'878'144, tokens = 524'288;  // a step
  // 256 samples, 32 at a time; of each parameter 38 bytes in the update.
  EXPECT_DOUBLE_EQ(bytes(1, {"train.micro_batch=32"}),
                   activations + (8 * model::weight_bytes(recipe.model, 65'536) + 38 * N) / tokens);
  // Four samples on each of 64 ranks, whatever the micro-batch could be. What a rank owns it alone updates.
  const double sharded = activations + 64 * model::weight_bytes(recipe.model, 8'192) / tokens;
  for (const char* micro_batch : {"train.micro_batch=4", "train.micro_batch=256"}) {
    EXPECT_DOUBLE_EQ(bytes(64, {micro_batch}), sharded + (64 * 6 + 32) * N / tokens) << micro_batch;
    EXPECT_DOUBLE_EQ(bytes(64, {micro_batch, "optimizer.sharded=false"}), sharded + 64 * 38 * N / tokens);
  }
  EXPECT_DOUBLE_EQ(
      bytes(1, {"train.micro_batch=32", "train.recompute=12"}) - bytes(1, {"train.micro_batch=32"}),
      model::activation_bytes(recipe.model, recipe.data.sequence_length, 12) - activations +
          8 * (model::weight_bytes(recipe.model, 65'536, 12) - model::weight_bytes(recipe.model, 65'536)) /
              tokens);
}

// With SISA_UPDATE_DOCS=1 in the environment the test rewrites its part of the page.
TEST(RecipeFolder, ThePageOfKeysIsUpToDate) {
  const fs::path page = root / "docs/recipes.md";
  const std::string begin = "<!-- keys: begin -->\n", end = "<!-- keys: end -->\n";
  const std::string text = common::read_file(page);
  const size_t first = text.find(begin) + begin.size(), last = text.find(end);
  ASSERT_LE(first, last);
  ASSERT_NE(last, std::string::npos);
  if (std::getenv("SISA_UPDATE_DOCS") != nullptr)
    common::write_file_atomically(page, text.substr(0, first) + recipe_keys_markdown() + text.substr(last));
  else
    EXPECT_EQ(text.substr(first, last - first), recipe_keys_markdown());
}

}  // namespace
}  // namespace sisa::launcher
