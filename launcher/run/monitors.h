// What a model says about itself (model::Mixer::read), for people and for metrics.jsonl.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "launcher/run/reporter.h"
#include "model/mixers/mixer.h"

namespace sisa::launcher {

using Readings = std::vector<std::vector<model::Reading>>;  // of each layer a list

inline constexpr int64_t monitored_samples = 4;  // that a reading looks at, at most

// An array of layers, each {"lambda": [of each head], …}.
nlohmann::ordered_json readings_json(const Readings& readings);
// A row for each reading of each layer: its value of each head, or their span where heads are many.
Rows readings_rows(const Readings& readings);
// One line: each reading's span over all layers and heads. Empty if there are none.
std::string readings_summary(const Readings& readings);

}  // namespace sisa::launcher
