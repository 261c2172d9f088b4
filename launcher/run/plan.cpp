#include "launcher/run/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/quantity.h"
#include "common/text.h"
#include "launcher/recipe/keys.h"
#include "model/costs.h"
#include "model/language_model.h"

namespace sisa::launcher {

using common::format_bytes;
using common::format_count;

int64_t padding(const Recipe& recipe) {
  constexpr int64_t for_tensor_cores = 64, for_vector_units = 8;
  return recipe.run.device == "cuda" ? for_tensor_cores : for_vector_units;
}

Plan::Flops flops_per_token(const Recipe& recipe) {
  const int64_t T = recipe.data.sequence_length;
  return {.usual = model::usual_training_flops(recipe.model, T),
          .exact = 3 * model::forward_flops(recipe.model, T)};
}

double bytes_per_token(const Recipe& recipe, int64_t ranks) {
  const auto N = static_cast<double>(model::num_parameters(recipe.model)), n = static_cast<double>(ranks);
  const int64_t samples = (recipe.samples_per_step() + ranks - 1) / ranks,  // of a rank, at most
      micro_batch = std::min(recipe.train.micro_batch, samples);
  const double weights =
      model::weight_bytes(recipe.model, micro_batch * recipe.data.sequence_length, recipe.train.recompute) *
      static_cast<double>((samples + micro_batch - 1) / micro_batch);
  // For each parameter every rank clears the gradient and writes the value. The rank that updates it reads the
  // gradient for the norm and for AdamW, which reads and writes master and moments.
  const double everywhere = 4 + 2, owned = 2 * 4 + 3 * 2 * 4;
  const double update = N * (everywhere + owned / (recipe.optimizer.sharded ? n : 1));
  return model::activation_bytes(recipe.model, recipe.data.sequence_length, recipe.train.recompute) +
         n * (weights + update) / static_cast<double>(recipe.train.batch);
}

Plan make_plan(const Recipe& recipe, int64_t ranks) {
  check_ranks(recipe, ranks);
  model::LanguageModel model(recipe.model, recipe.run.precision, padding(recipe));
  // Tensors on the meta device have sizes and no memory; slices are padded to be equal on all ranks.
  const parallel::ParameterSpace space(model.parameters(),
                                       {.precision = recipe.run.precision,
                                        .device = at::kMeta,
                                        .training = true,
                                        .sharded = recipe.optimizer.sharded},
                                       0, static_cast<int>(ranks));
  return {.num_parameters = space.num_parameters(),
          .ranks = ranks,
          .steps = recipe.total_steps(),
          .tokens_per_step = recipe.train.batch,
          .total_tokens = recipe.total_steps() * recipe.train.batch,
          .samples_per_step = recipe.samples_per_step(),
          .memory = space.memory(),
          .flops = flops_per_token(recipe),
          .bytes = bytes_per_token(recipe, ranks)};
}

Rows plan_rows(const Recipe& recipe, const Plan& plan) {
  const auto& memory = plan.memory;
  const int64_t fewest = plan.samples_per_step / plan.ranks;
  const int64_t most = (plan.samples_per_step + plan.ranks - 1) / plan.ranks;
  const auto bytes = [](int64_t n) { return format_bytes(static_cast<double>(n)); };
  const auto length = [&](int64_t steps) { return common::counted(steps, "step"); };
  return {
      {"system", recipe.model.system},
      {"parameters", format_count(plan.num_parameters)},
      {"precision", find_key("run", "precision", "").print(recipe)},
      {"", ""},
      {"ranks", fmt::format("{} ({})", plan.ranks, recipe.run.device)},
      {"samples a rank", fewest == most ? format_count(most)
                                        : fmt::format("{} or {}", format_count(fewest), format_count(most))},
      {"optimizer state", plan.ranks == 1            ? "whole"
                          : recipe.optimizer.sharded ? "sharded"
                                                     : "whole on every rank"},
      {"", ""},
      {"memory a rank", "without activations"},
      {"  values", bytes(memory.values)},
      {"  gradients", bytes(memory.gradients)},
      {"  masters", memory.masters > 0 ? bytes(memory.masters) : "none: values serve"},
      {"  moments", bytes(memory.moments)},
      {"  together", bytes(memory.values + memory.gradients + memory.masters + memory.moments)},
      {"", ""},
      {"sequence length", fmt::format("{} tokens", format_count(recipe.data.sequence_length))},
      {"a step", fmt::format("{} tokens, {} samples", format_count(plan.tokens_per_step),
                             format_count(plan.samples_per_step))},
      {"the run", fmt::format("{}, {} tokens", length(plan.steps), format_count(plan.total_tokens))},
      {"warm-up", length(recipe.warmup_steps())},
      {"FLOPs a token",
       fmt::format("{} (6 N + 12 L d T), {} counted exactly", common::format_short(plan.flops.usual),
                   common::format_short(plan.flops.exact))},
      {"bytes a token",
       fmt::format("{} through memory on a GPU, in bf16 by kernels of our own", format_bytes(plan.bytes))},
      {"FLOPs of the run",
       fmt::format("{:.2e}, {:.2e}", plan.flops.usual * static_cast<double>(plan.total_tokens),
                   plan.flops.exact * static_cast<double>(plan.total_tokens))},
  };
}

}  // namespace sisa::launcher
