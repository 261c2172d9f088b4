#include "launcher/held_out.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "evaluation/held_out.h"

namespace sisa::launcher {

HeldOutResult evaluate_held_out(const Recipe& recipe, model::LanguageModel& model,
                                const data::HeldOut& held_out, const at::Device& device,
                                const parallel::World& world) {
  const auto start = std::chrono::steady_clock::now();
  HeldOutResult result;
  result.windows = held_out.size();
  if (recipe.evaluation.tokens > 0)
    result.windows = std::min(result.windows,
                              std::max<int64_t>(1, recipe.evaluation.tokens / recipe.data.sequence_length));
  const auto [begin, end] = world.share(result.windows);
  const auto score =
      evaluation::score_held_out(model, held_out, begin, end, recipe.train.micro_batch, device);
  std::array<double, 2> sums = {score.nats, static_cast<double>(score.tokens)};
  world.all_reduce(sums, parallel::World::Reduction::sum);
  result.tokens = static_cast<int64_t>(sums[1]);
  if (result.tokens > 0) result.nats_per_token = sums[0] / sums[1];
  result.nats_per_byte = result.nats_per_token * held_out.tokens_per_byte();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace sisa::launcher
