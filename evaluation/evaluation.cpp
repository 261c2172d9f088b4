#include "evaluation/evaluation.h"

#include <utility>

namespace sisa::evaluation {

void Evaluation::add(Score score) {
  if (score.role == Role::held_out) held_out_ += score.totals;
  (score.role == Role::baseline ? baselines_ : parts_).push_back(std::move(score));
}

double Evaluation::seconds() const {
  double sum = 0;
  for (const Score& part : parts_) sum += part.seconds;
  return sum;
}

int64_t Evaluation::held_out_tokens() const {
  return held_out_.has("tokens") ? static_cast<int64_t>(held_out_["tokens"]) : 0;
}

std::optional<double> Evaluation::held_out_loss() const {
  if (held_out_tokens() == 0) return {};
  return std::get<double>(loss(held_out_).value);
}

bool Evaluation::has_answers() const {
  return held_out_.has("answers") && held_out_["answers"] > 0;
}

std::vector<Metric> Evaluation::headline() const {
  if (held_out_tokens() == 0) return {};
  std::vector<Metric> metrics = {loss(held_out_)};
  for (const Score& part : parts_) metrics.insert(metrics.end(), part.headline.begin(), part.headline.end());
  if (has_answers()) metrics.push_back(accuracy(held_out_));
  return metrics;
}

}  // namespace sisa::evaluation
