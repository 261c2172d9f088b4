// What a model says about itself (model::Mixer::read), for people and for metrics.jsonl.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "launcher/run/reporter.h"
#include "model/mixers/mixer.h"

namespace sisa::launcher {

using Readings = std::vector<std::vector<model::Reading>>;  // a list for each layer

inline constexpr int64_t monitored_samples = 4;  // a reading looks at no more samples than these

// An array with an object for each layer, {"lambda": [a number for each head], …}.
nlohmann::ordered_json readings_json(const Readings& readings);
// A row for each reading of each layer: its values for the heads, or the span of these where heads are many.
Rows readings_rows(const Readings& readings);
// One line with each reading's span over all layers and heads. Empty if there are no readings.
std::string readings_summary(const Readings& readings);

}  // namespace sisa::launcher
