// trainer FOLDER: trains two small networks, one step by step with the Learner and one as a recipe says, into
// FOLDER. Prints the first and the last loss of each; the exit status is 0 if both fell.
#include <ATen/ops/empty.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/error.h"
#include "data/loader.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/device.h"
#include "launcher/run/learner.h"
#include "launcher/run/trainer.h"
#include "model/config.h"
#include "parallel/world.h"

namespace {

using namespace sisa;

constexpr int64_t sequence_length = 16, vocab_size = 8, batch_size = 4;

// Sample i counts up from i, modulo the vocabulary.
data::Batch read(int64_t first, int64_t count) {
  const data::Batch batch{at::empty({count, sequence_length}, at::kLong),
                          at::empty({count, sequence_length}, at::kLong)};
  int64_t* const inputs = batch.inputs.data_ptr<int64_t>();
  int64_t* const targets = batch.targets.data_ptr<int64_t>();
  for (int64_t row = 0; row < count; ++row)
    for (int64_t t = 0; t < sequence_length; ++t) {
      inputs[row * sequence_length + t] = (first + row + t) % vocab_size;
      targets[row * sequence_length + t] = (first + row + t + 1) % vocab_size;
    }
  return batch;
}

std::vector<double> learn(const parallel::World& world) {
  model::ModelConfig config;
  config.vocab_size = vocab_size;
  config.d_model = 16;
  config.settings["num_heads"] = 2;
  config.num_layers = 1;
  config.d_ff = 16;
  launcher::LearnerOptions options;
  options.optimizer.learning_rate = 1e-2;
  launcher::Learner learner(config, options, world);
  learner.space().initialise(/*seed=*/1);
  std::vector<double> losses;
  for (int step = 0; step < 20; ++step)
    losses.push_back(learner.step(read, batch_size, batch_size * sequence_length, /*lr_factor=*/1).loss);
  return losses;
}

std::vector<double> train(const std::filesystem::path& folder, const parallel::World& world) {
  constexpr auto text = R"(
run: {threads: 1}
model: {system: transformer, vocab_size: 16, d_model: 16, num_layers: 1, num_heads: 2, d_ff: 16}
data: {sources: [{task: selective_copying, num_data: 3, vocab_size: 8, held_out: 8}], sequence_length: 16}
train: {max_tokens: 5120 tokens, batch: 256 tokens, micro_batch: 16, warmup: 1 steps}
optimizer: {learning_rate: 1e-2}
)";
  launcher::Recipe recipe = launcher::parse_recipe(text, "the recipe of this test");
  recipe.run.output = folder;
  launcher::check_ready_to_train(recipe, world.size());
  launcher::Trainer(recipe, {}, launcher::open_device(recipe.run, world), world).run();
  std::vector<double> losses;
  std::ifstream metrics(folder / "metrics.jsonl");
  for (std::string line; std::getline(metrics, line);)
    if (const auto record = nlohmann::json::parse(line); !record.contains("event"))
      losses.push_back(record["loss"]);
  return losses;
}

bool fell(const char* how, const std::vector<double>& losses) {
  std::printf("%s: %zu steps, loss from %.3f to %.3f\n", how, losses.size(), losses.front(), losses.back());
  return losses.back() < 0.9 * losses.front();
}

}  // namespace

int main(int, char** arguments) {
  const parallel::World world;
  try {
    const bool learned = fell("by the learner", learn(world));
    const bool trained = fell("by the trainer", train(arguments[1], world));
    return learned && trained ? 0 : 1;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.status();
  }
}
