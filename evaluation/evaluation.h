// All scores of one network at one step, and what they amount to together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "evaluation/scorer.h"

namespace sisa::evaluation {

// What a scorer found over all its items.
struct Score {
  std::string name;
  Role role;
  Sums totals;
  std::vector<Metric> metrics, headline;  // Scorer::metrics and Scorer::headline of the totals
  double seconds = 0;                     // that scoring took
};

class Evaluation {
 public:
  void add(Score score);

  const std::vector<Score>& parts() const { return parts_; }  // of the network, in the order of adding
  const std::vector<Score>& baselines() const { return baselines_; }  // of Role::baseline
  double seconds() const;                                             // that scoring the network took

  // Over all scores of Role::held_out together, each of their predicted tokens counting the same:
  int64_t held_out_tokens() const;              // 0: nothing is held out
  std::optional<double> held_out_loss() const;  // nats a token; absent without held-out tokens
  bool has_answers() const;                     // some of the targets are answers
  // The loss, then the scores' own headlines, then the accuracy if there are answers; empty without held-out
  // tokens.
  std::vector<Metric> headline() const;

 private:
  std::vector<Score> parts_, baselines_;
  Sums held_out_;  // of all scores of Role::held_out
};

}  // namespace sisa::evaluation
