// What counting pairs of tokens achieves: the mark that a network must beat to have learned anything.
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "evaluation/registry.h"

namespace sisa::evaluation {
namespace {

constexpr int64_t largest_vocabulary = 4096;  // the counts fill vocabulary^2 numbers of 8 bytes

// p(b | a) = (count(a, b) + 1) / (count(a) + V), where V is the vocabulary and the counts are those of the
// training text.
class PairCounts {
 public:
  explicit PairCounts(const std::vector<data::TokenDataset>& training) {
    for (const data::TokenDataset& dataset : training)
      vocabulary_ = std::max(vocabulary_, dataset.vocab_size());
    TORCH_INTERNAL_ASSERT(vocabulary_ <= largest_vocabulary);
    pairs_.resize(static_cast<size_t>(vocabulary_ * vocabulary_));
    firsts_.resize(static_cast<size_t>(vocabulary_));
    for (const data::TokenDataset& dataset : training) count(dataset);
  }

  // -log p(b | a)
  double nats(int64_t a, int64_t b) const {
    return std::log(static_cast<double>(firsts_[static_cast<size_t>(a)] + vocabulary_)) -
           std::log(static_cast<double>(pairs_[static_cast<size_t>(a * vocabulary_ + b)]) + 1);
  }

 private:
  void count(const data::TokenDataset& dataset) {
    constexpr int64_t block = 1 << 16;
    std::vector<int64_t> ids;
    for (int64_t begin = 0; begin + 1 < dataset.tokens(); begin += block) {
      // A block shares one token with the next.
      ids.resize(static_cast<size_t>(std::min(block + 1, dataset.tokens() - begin)));
      dataset.read(begin, ids);
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        ++pairs_[static_cast<size_t>(ids[i] * vocabulary_ + ids[i + 1])];
        ++firsts_[static_cast<size_t>(ids[i])];
      }
    }
  }

  int64_t vocabulary_ = 0;
  std::vector<int64_t> pairs_;   // [a * vocabulary + b]: how often b follows a
  std::vector<int64_t> firsts_;  // how often anything follows a
};

// Scores the windows of held-out text that the network is scored on: the very same predictions. Sums: nats
// and tokens.
class BigramScorer : public Scorer {
 public:
  explicit BigramScorer(const Inputs& inputs) : Scorer("bigram model", Role::baseline), inputs_(inputs) {}

  int64_t size() const override { return inputs_.num_windows; }

  Sums score(int64_t begin, int64_t end) override {
    Sums sums({"nats", "tokens"});
    if (begin == end) return sums;
    if (!counts_) counts_.emplace(inputs_.open_training_text());
    double nats = 0;
    for (int64_t window = begin; window < end; ++window) {
      const data::Batch batch = inputs_.held_out.read(window, 1);
      const int64_t* a = batch.inputs.const_data_ptr<int64_t>();
      const int64_t* b = batch.targets.const_data_ptr<int64_t>();
      for (int64_t i = 0; i < batch.inputs.numel(); ++i) nats += counts_->nats(a[i], b[i]);
    }
    sums["nats"] = nats;
    sums["tokens"] = static_cast<double>((end - begin) * inputs_.held_out.sequence_length());
    return sums;
  }

  std::vector<Metric> metrics(const Sums& totals) const override { return {loss(totals), tokens(totals)}; }

 private:
  Inputs inputs_;
  std::optional<PairCounts> counts_;  // since the first window was scored
};

}  // namespace

Scorers make_bigram(const Inputs& inputs) {
  Scorers scorers;
  if (inputs.model.config().vocab_size <= largest_vocabulary)
    scorers.push_back(std::make_unique<BigramScorer>(inputs));
  return scorers;
}

}  // namespace sisa::evaluation
