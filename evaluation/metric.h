// What is shown of a score.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "evaluation/sums.h"

namespace sisa::evaluation {

// One number that is derived from sums, once for programs and once for people.
struct Metric {
  std::string name;                     // of the field in metrics.jsonl: "loss"
  std::variant<double, int64_t> value;  // of that field; int64_t for a count
  std::string number;                   // as people read it: "0.0210", "99.20%"
  std::string unit;                     // what follows the number: "nats a token"; empty: recorded, not shown
  std::string text() const { return number + " " + unit; }
};

// Metrics that several evaluations share. Each names the sums that it is derived from; its denominator must
// be above 0.
Metric loss(const Sums& sums);       // nats / tokens
Metric accuracy(const Sums& sums);   // correct / answers
Metric tokens(const Sums& sums);     // tokens; recorded only
Metric nats_per_byte(double value);  // of what is known to be that already

// "0.0210 nats a token, 99.20% of answers right": those that are shown.
std::string describe(const std::vector<Metric>& metrics);

}  // namespace sisa::evaluation
