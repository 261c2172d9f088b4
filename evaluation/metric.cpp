#include "evaluation/metric.h"

#include <fmt/format.h>

namespace sisa::evaluation {

Metric loss(const Sums& sums) {
  const double nats_per_token = sums["nats"] / sums["tokens"];
  return {"loss", nats_per_token, fmt::format("{:.4f}", nats_per_token), "nats a token"};
}

Metric accuracy(const Sums& sums) {
  const double share = sums["correct"] / sums["answers"];
  return {"accuracy", share, fmt::format("{:.2f}%", 100 * share), "of answers right"};
}

Metric tokens(const Sums& sums) {
  return {"tokens", static_cast<int64_t>(sums["tokens"]), {}, {}};
}

Metric nats_per_byte(double value) {
  return {"nats_per_byte", value, fmt::format("{:.4f}", value), "nats a byte"};
}

std::string describe(const std::vector<Metric>& metrics) {
  std::string text;
  for (const Metric& metric : metrics)
    if (!metric.unit.empty()) text += (text.empty() ? "" : ", ") + metric.text();
  return text;
}

}  // namespace sisa::evaluation
