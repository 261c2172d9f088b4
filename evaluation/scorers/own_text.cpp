#include "evaluation/scorers/own_text.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace sisa::evaluation {
namespace {

class OwnTextScorer : public Scorer {
 public:
  OwnTextScorer(const OwnText& text, model::LanguageModel& model, const at::Device& device,
                int64_t micro_batch, int64_t sequence_length)
      : Scorer(text.name, Role::downstream),
        text_(text),
        model_(model),
        device_(device),
        micro_batch_(micro_batch),
        length_(sequence_length),
        ranges_(context_ranges(sequence_length)) {}

  int64_t size() const override { return (predicted() + length_ - 1) / length_; }

  Sums score(int64_t begin, int64_t end) override {
    std::vector<std::string> names = {"nats", "tokens"};
    for (const ContextRange& range : ranges_) names.insert(names.end(), {range.nats, range.tokens});
    Sums sums(names);
    for (int64_t first = begin; first < end; first += micro_batch_) {
      const int64_t rows = std::min(micro_batch_, end - first);
      at::Tensor inputs = at::zeros({rows, length_}, at::kLong);
      at::Tensor targets = at::full({rows, length_}, -1, at::kLong);  // predicts nothing behind the end
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t at = (first + row) * length_, count = std::min(length_, predicted() - at);
        const auto tokens = text_.tokens.begin() + at;
        std::copy(tokens, tokens + count, inputs[row].data_ptr<int64_t>());
        std::copy(tokens + 1, tokens + count + 1, targets[row].data_ptr<int64_t>());
      }
      const at::Tensor losses =
          model_.token_losses(inputs.to(device_), targets, nullptr).to(at::kCPU, at::kDouble).sum(0);
      const at::Tensor counts = targets.ge(0).sum(0).to(at::kDouble);  // both (length)
      sums["nats"] += losses.sum().item<double>();
      sums["tokens"] += counts.sum().item<double>();
      for (const ContextRange& range : ranges_) {
        const int64_t width = range.last - range.first + 1;
        sums[range.nats] += losses.narrow(0, range.first - 1, width).sum().item<double>();
        sums[range.tokens] += counts.narrow(0, range.first - 1, width).sum().item<double>();
      }
    }
    return sums;
  }

  std::vector<Metric> metrics(const Sums& totals) const override {
    const double nats = totals["nats"] / totals["tokens"];
    std::vector<Metric> found = {loss(totals), tokens(totals)};
    if (text_.bytes > 0) {
      const double a_byte = totals["nats"] / static_cast<double>(text_.bytes);
      found.push_back(nats_per_byte(a_byte));
      found.push_back({"bits_per_byte", a_byte / std::log(2), fmt::format("{:.4f}", a_byte / std::log(2)),
                       "bits a byte"});
    }
    found.push_back({"perplexity", std::exp(nats), fmt::format("{:.4g}", std::exp(nats)), "a token"});
    return found;
  }

 private:
  int64_t predicted() const { return static_cast<int64_t>(text_.tokens.size()) - 1; }

  const OwnText& text_;
  model::LanguageModel& model_;
  at::Device device_;
  int64_t micro_batch_, length_;
  std::vector<ContextRange> ranges_;
};

}  // namespace

std::unique_ptr<Scorer> make_own_text(const OwnText& text, model::LanguageModel& model,
                                      const at::Device& device, int64_t micro_batch,
                                      int64_t sequence_length) {
  return std::make_unique<OwnTextScorer>(text, model, device, micro_batch, sequence_length);
}

std::vector<ContextRange> context_ranges(int64_t sequence_length) {
  std::vector<ContextRange> ranges;
  for (int64_t first = 1; first <= sequence_length; first *= 2) {
    const int64_t last = std::min(2 * first - 1, sequence_length);
    const std::string name = first == last ? fmt::format("{}", first) : fmt::format("{} to {}", first, last);
    ranges.push_back({first, last, "nats at " + name, "tokens at " + name});
  }
  return ranges;
}

}  // namespace sisa::evaluation
