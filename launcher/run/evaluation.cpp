#include "launcher/run/evaluation.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "common/quantity.h"
#include "evaluation/registry.h"

namespace sisa::launcher {

using evaluation::Evaluation;
using evaluation::Metric;
using evaluation::Role;
using evaluation::Score;
using nlohmann::ordered_json;

namespace {

int64_t windows_to_score(const Recipe& recipe, const data::HeldOut& held_out) {
  const int64_t all = held_out.num_windows();
  if (recipe.evaluation.tokens == 0) return all;
  return std::min(all, std::max<int64_t>(1, recipe.evaluation.tokens / recipe.data.sequence_length));
}

void record(const std::vector<Metric>& metrics, ordered_json& fields) {
  for (const Metric& metric : metrics)
    std::visit([&](const auto value) { fields[metric.name] = value; }, metric.value);
}

}  // namespace

std::optional<Score> score_on_ranks(evaluation::Scorer& scorer, const parallel::World& world,
                                    int64_t items_at_once, const GoOn& go_on) {
  const auto start = std::chrono::steady_clock::now();
  const auto [begin, end] = world.share(scorer.size());
  Score score{.name = scorer.name(), .role = scorer.role(), .totals = scorer.score(begin, begin)};
  // All ranks make the same number of turns, though their shares may differ by an item.
  const int64_t largest_share = (scorer.size() + world.size() - 1) / world.size();
  for (int64_t done = 0; done < largest_share; done += items_at_once) {
    const int64_t first = std::min(begin + done, end);
    score.totals += scorer.score(first, std::min(first + items_at_once, end));
    if (!go_on()) return {};
  }
  world.all_reduce(score.totals.values(), parallel::World::Reduction::sum);
  score.metrics = scorer.metrics(score.totals);
  score.headline = scorer.headline(score.totals);
  score.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return score;
}

Score score_on_ranks(evaluation::Scorer& scorer, const parallel::World& world) {
  return *score_on_ranks(scorer, world, std::max<int64_t>(scorer.size(), 1), [] { return true; });
}

std::optional<Evaluation> evaluate(const Recipe& recipe, model::LanguageModel& model, const Sources& sources,
                                   const at::Device& device, const parallel::World& world, bool baselines,
                                   const GoOn& go_on) {
  const auto scorers =
      evaluation::make_scorers({.model = model,
                                .device = device,
                                .micro_batch = recipe.train.micro_batch,
                                .held_out = sources.held_out(),
                                .num_windows = windows_to_score(recipe, sources.held_out()),
                                .open_training_text = [&] { return sources.open_training_text(); }});
  Evaluation result;
  for (const auto& scorer : scorers) {
    if (!baselines && scorer->role() == Role::baseline) continue;
    auto score = score_on_ranks(*scorer, world, recipe.train.micro_batch, go_on);
    if (!score) return {};
    result.add(std::move(*score));
  }
  return result;
}

ordered_json evaluation_json(const Evaluation& result) {
  auto fields = ordered_json::object();
  record(result.headline(), fields);
  // A single part that is held out says nothing beyond the headline.
  if (result.parts().size() > 1 || result.held_out_tokens() == 0)
    for (const Score& part : result.parts()) {
      ordered_json entry = {{"name", part.name}};
      record(part.metrics, entry);
      fields["parts"].push_back(std::move(entry));
    }
  fields["tokens"] = result.held_out_tokens();
  fields["seconds"] = result.seconds();
  return fields;
}

std::string evaluation_summary(const Evaluation& result, int64_t step) {
  const bool held_out = result.held_out_tokens() > 0;
  std::string text = fmt::format("{} at step {}: {}", held_out ? "held-out loss" : "scores",
                                 common::format_count(step), evaluation::describe(result.headline()));
  if (result.parts().size() > 1 || !held_out)
    for (const Score& part : result.parts()) {
      if (held_out || &part != &result.parts().front()) text += "; ";
      text += fmt::format("{} {}", part.name, evaluation::describe(part.metrics));
    }
  text += held_out ? fmt::format(" ({} tokens in {})", common::format_count(result.held_out_tokens()),
                                 common::format_duration(result.seconds()))
                   : fmt::format(" (in {})", common::format_duration(result.seconds()));
  return text;
}

Rows evaluation_rows(const Evaluation& result) {
  TORCH_INTERNAL_ASSERT(result.held_out_tokens() > 0);
  Rows rows = {{"held-out loss", result.headline().front().text()}};
  for (const Score& baseline : result.baselines())
    rows.emplace_back(baseline.name, fmt::format("{}, on the {}", evaluation::describe(baseline.metrics),
                                                 result.has_answers() ? "text" : "same tokens"));
  rows.emplace_back("", "");
  if (result.parts().size() > 1 || result.has_answers())
    for (const Score& part : result.parts()) rows.emplace_back(part.name, evaluation::describe(part.metrics));
  for (const Score& part : result.parts())
    for (const Metric& metric : part.headline) rows.emplace_back("in " + metric.unit, metric.number);
  rows.emplace_back("tokens scored", common::format_count(result.held_out_tokens()));
  rows.emplace_back("time", common::format_duration(result.seconds()));
  return rows;
}

}  // namespace sisa::launcher
