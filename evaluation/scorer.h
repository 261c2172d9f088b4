// The interface of an evaluation: items with numbers, and sums over them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "evaluation/metric.h"
#include "evaluation/sums.h"

namespace sisa::evaluation {

// What a score stands for, which decides where it is shown.
enum class Role {
  held_out,  // its nats and tokens (and correct answers) count in the held-out loss (and accuracy) of the run
  downstream,  // it stands for itself, beside that loss
  baseline,    // what something without the network achieves on held-out text; the same at every step, hence
               // not scored during training
};

// Scores items [0, size), such as windows of text, samples of a task or questions with several continuations,
// which may differ in length. Any rank may score any range of them: the sums of the parts add up to those of
// the whole, but for rounding. So a scorer decides how the items are batched, but its sums must not depend on
// which items are scored together. Even shares of [0, size) are even work only if the items are ordered so
// that long and short ones mix.
class Scorer {
 public:
  Scorer(std::string name, Role role) : name_(std::move(name)), role_(role) {}
  Scorer(const Scorer&) = delete;
  Scorer& operator=(const Scorer&) = delete;
  virtual ~Scorer() = default;

  const std::string& name() const { return name_; }  // "text", "mqar": for people and for metrics.jsonl
  Role role() const { return role_; }
  virtual int64_t size() const = 0;

  // The sums over the items [begin, end), 0 <= begin <= end <= size(). They always have the same names in the
  // same order, also where the range is empty, since ranks add them up. With Role::held_out there are nats
  // and tokens among them and, where targets are answers, correct and answers.
  virtual Sums score(int64_t begin, int64_t end) = 0;

  // What is shown and recorded of the sums over all items, in this order; size() > 0.
  virtual std::vector<Metric> metrics(const Sums& totals) const = 0;
  // What is shown not with this scorer's own metrics but with the held-out loss of the whole evaluation.
  virtual std::vector<Metric> headline(const Sums&) const { return {}; }

 private:
  std::string name_;
  Role role_;
};

}  // namespace sisa::evaluation
