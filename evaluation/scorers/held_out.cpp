// The loss on held-out text, and the loss and the accuracy on held-out samples of each synthetic task.
#include <algorithm>
#include <string>
#include <utility>

#include "evaluation/registry.h"

namespace sisa::evaluation {
namespace {

enum class Targets { text, answers };

// Scores the samples [begin, end) of what is held out. Sums: nats, the cross entropy of all predicted tokens,
// and tokens, their number. Where these are answers also correct, the number of those that the model holds
// for the likeliest token, and answers, which equals tokens.
class HeldOutScorer : public Scorer {
 public:
  HeldOutScorer(std::string name, const Inputs& inputs, int64_t begin, int64_t end, Targets targets)
      : Scorer(std::move(name), Role::held_out),
        inputs_(inputs),
        begin_(begin),
        end_(end),
        has_answers_(targets == Targets::answers) {}

  int64_t size() const override { return end_ - begin_; }

  Sums score(int64_t begin, int64_t end) override {
    Sums sums = has_answers_ ? Sums({"nats", "tokens", "correct", "answers"}) : Sums({"nats", "tokens"});
    for (int64_t first = begin; first < end; first += inputs_.micro_batch) {
      const data::Batch batch =
          inputs_.held_out.read(begin_ + first, std::min(inputs_.micro_batch, end - first));
      at::Tensor correct;
      const at::Tensor losses = inputs_.model.token_losses(batch.inputs.to(inputs_.device), batch.targets,
                                                           has_answers_ ? &correct : nullptr);
      const auto tokens = static_cast<double>(batch.targets.ge(0).sum().item<int64_t>());
      sums["nats"] += losses.sum(at::kDouble).item<double>();
      sums["tokens"] += tokens;
      if (!has_answers_) continue;
      sums["correct"] += static_cast<double>(correct.sum().item<int64_t>());
      sums["answers"] += tokens;
    }
    return sums;
  }

  std::vector<Metric> metrics(const Sums& totals) const override {
    if (has_answers_) return {loss(totals), tokens(totals), accuracy(totals)};
    return {loss(totals), tokens(totals)};
  }

  std::vector<Metric> headline(const Sums& totals) const override {
    const double tokens_per_byte = has_answers_ ? 0 : inputs_.held_out.tokens_per_byte();
    if (tokens_per_byte == 0) return {};
    return {nats_per_byte(totals["nats"] / totals["tokens"] * tokens_per_byte)};
  }

 private:
  Inputs inputs_;
  int64_t begin_, end_;
  bool has_answers_;
};

}  // namespace

Scorers make_text(const Inputs& inputs) {
  Scorers scorers;
  scorers.push_back(std::make_unique<HeldOutScorer>("text", inputs, 0, inputs.num_windows, Targets::text));
  return scorers;
}

Scorers make_tasks(const Inputs& inputs) {
  Scorers scorers;
  for (const auto& [task, begin, end] : inputs.held_out.tasks())
    scorers.push_back(std::make_unique<HeldOutScorer>(task, inputs, begin, end, Targets::answers));
  return scorers;
}

}  // namespace sisa::evaluation
