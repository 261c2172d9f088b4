// Scores over all ranks, and how a run and `sisa evaluate` show and record them.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "evaluation/evaluation.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/reporter.h"
#include "launcher/run/sources.h"
#include "model/language_model.h"
#include "parallel/world.h"

namespace sisa::launcher {

// Called again and again while items are scored, by all ranks together, so that it may be collective. False
// ends the scoring.
using GoOn = std::function<bool()>;

// Collective. Each rank scores its share of the items; the result is equal on all ranks. `go_on` is called
// after every `items_at_once` items of each rank; nothing if it returned false.
std::optional<evaluation::Score> score_on_ranks(evaluation::Scorer& scorer, const parallel::World& world,
                                                int64_t items_at_once, const GoOn& go_on);
// The same without such calls.
evaluation::Score score_on_ranks(evaluation::Scorer& scorer, const parallel::World& world);

// Collective. What every evaluation finds for `model`, which lies on `device`. Of held-out text the first
// windows are scored, as many as evaluation.tokens allows (0: all), and of tasks all samples. baselines: also
// what does not depend on the model. Nothing if `go_on` ended it, which is asked after each micro-batch.
std::optional<evaluation::Evaluation> evaluate(
    const Recipe& recipe, model::LanguageModel& model, const Sources& sources, const at::Device& device,
    const parallel::World& world, bool baselines, const GoOn& go_on = [] { return true; });

// The fields of the record in metrics.jsonl.
nlohmann::ordered_json evaluation_json(const evaluation::Evaluation& result);
// One sentence for a run's screen.
std::string evaluation_summary(const evaluation::Evaluation& result, int64_t step);
// The table of `sisa evaluate`, which needs held-out tokens.
Rows evaluation_rows(const evaluation::Evaluation& result);

}  // namespace sisa::launcher
