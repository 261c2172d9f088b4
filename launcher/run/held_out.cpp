#include "launcher/run/held_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "evaluation/held_out.h"

namespace sisa::launcher {

std::string describe(const HeldOutPart& part) {
  const std::string loss = fmt::format("{:.4f} nats a token", part.nats_per_token);
  return part.accuracy ? fmt::format("{}, {:.2f}% of answers right", loss, 100 * *part.accuracy) : loss;
}

HeldOutResult evaluate_held_out(const Recipe& recipe, model::LanguageModel& model,
                                const data::HeldOut& held_out, const at::Device& device,
                                const parallel::World& world) {
  const auto start = std::chrono::steady_clock::now();
  HeldOutResult result;
  result.windows = held_out.num_windows();
  if (recipe.evaluation.tokens > 0)
    result.windows = std::min(result.windows,
                              std::max<int64_t>(1, recipe.evaluation.tokens / recipe.data.sequence_length));
  // Sums over the ranks: nats, tokens, correct ones. fp64 holds a count exactly.
  using Sums = std::array<double, 3>;
  Sums all{}, of_tasks{};
  const auto score = [&](const std::string& name, int64_t first, int64_t last) {
    const auto [begin, end] = world.share(last - first);
    const auto own = evaluation::score_held_out(model, held_out, first + begin, first + end,
                                                recipe.train.micro_batch, device);
    Sums sums = {own.nats, static_cast<double>(own.tokens), static_cast<double>(own.correct)};
    world.all_reduce(sums, parallel::World::Reduction::sum);
    if (sums[1] > 0) result.parts.push_back({name, sums[0] / sums[1], {}, static_cast<int64_t>(sums[1])});
    for (size_t i = 0; i < sums.size(); ++i) all[i] += sums[i];
    return sums;
  };
  const Sums text = score("text", 0, result.windows);
  if (const double rate = held_out.tokens_per_byte(); rate > 0 && text[1] > 0)
    result.nats_per_byte = text[0] / text[1] * rate;
  for (const auto& [task, begin, end] : held_out.tasks()) {
    const Sums sums = score(task, begin, end);
    if (sums[1] > 0) result.parts.back().accuracy = sums[2] / sums[1];
    for (size_t i = 0; i < sums.size(); ++i) of_tasks[i] += sums[i];
  }
  if (of_tasks[1] > 0) result.accuracy = of_tasks[2] / of_tasks[1];
  result.tokens = static_cast<int64_t>(all[1]);
  if (result.tokens > 0) result.nats_per_token = all[0] / all[1];
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace sisa::launcher
