#include "data/tasks/mqar.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sisa::data {
namespace {

enum class Filler { random, zero };

class Mqar final : public Task {
 public:
  explicit Mqar(const TaskSetting& setting)
      : num_pairs_(setting.count("num_pairs")),
        filler_(static_cast<Filler>(setting.count("filler"))),
        vocab_size_(
            setting.vocab_size(2 * num_pairs_ + 2,
                               fmt::format("num_pairs {}: as many keys and values, and filler", num_pairs_))),
        weights_(static_cast<size_t>(std::max<int64_t>(0, setting.sequence_length() / 2 - num_pairs_))) {
    setting.check_length(4 * num_pairs_, fmt::format("num_pairs {}: 2 a pair and 2 a query", num_pairs_));
    for (size_t i = 0; i < weights_.size(); ++i)
      weights_[i] = std::pow(static_cast<double>(i + 1), setting.number("power_a") - 1);
  }

  int64_t num_targets() const override { return num_pairs_; }

  void generate(Draws draws, std::span<int64_t> inputs, std::span<int64_t> targets) const override {
    const int64_t first_value = vocab_size_ / 2;
    std::vector<int64_t> keys = draws.distinct(num_pairs_, first_value - 1);
    std::vector<int64_t> values = draws.distinct(num_pairs_, vocab_size_ - first_value);
    for (int64_t& key : keys) key += 1;
    for (int64_t& value : values) value += first_value;
    fill(keys, values, draws, inputs);
    const std::vector<size_t> places = query_places(draws);
    for (size_t i = 0; i < keys.size(); ++i) {
      inputs[2 * i] = keys[i];
      inputs[2 * i + 1] = values[i];
      const size_t query = 2 * keys.size() + 2 * places[i];
      inputs[query] = keys[i];
      targets[query] = values[i];
    }
  }

 private:
  // Fills `inputs` with zeros, or uniformly with the ids that are in none of the pairs.
  void fill(const std::vector<int64_t>& keys, const std::vector<int64_t>& values, Draws& draws,
            std::span<int64_t> inputs) const {
    if (filler_ == Filler::zero) {
      std::fill(inputs.begin(), inputs.end(), 0);
      return;
    }
    // free[j]: how many of the ids below the j-th smallest id of the pairs are in no pair.
    std::vector<int64_t> free(keys);
    free.insert(free.end(), values.begin(), values.end());
    std::sort(free.begin(), free.end());
    for (size_t j = 0; j < free.size(); ++j) free[j] -= static_cast<int64_t>(j);
    for (int64_t& id : inputs.subspan(2 * keys.size())) {
      id = draws.below(vocab_size_ - 2 * num_pairs_);
      id += std::upper_bound(free.begin(), free.end(), id) - free.begin();
    }
  }

  // For each key the position of its query among the S: drawn one after the other, each time with
  // probabilities in proportion to the weights of the positions that are left. That is the order in which S
  // independent exponential random variables with these rates fall.
  std::vector<size_t> query_places(Draws& draws) const {
    std::vector<double> times(weights_.size());
    for (size_t i = 0; i < times.size(); ++i) times[i] = -std::log(draws.uniform()) / weights_[i];
    std::vector<size_t> places(weights_.size());
    std::iota(places.begin(), places.end(), size_t{0});
    std::partial_sort(places.begin(), places.begin() + num_pairs_, places.end(),
                      [&](size_t a, size_t b) { return times[a] < times[b]; });
    places.resize(static_cast<size_t>(num_pairs_));
    return places;
  }

  int64_t num_pairs_;
  Filler filler_;
  int64_t vocab_size_;
  std::vector<double> weights_;  // of the S = sequence_length / 2 - num_pairs positions for queries
};

}  // namespace

TaskKind mqar_task() {
  using Type = TaskKey::Type;
  return {.name = "mqar",
          .doc =
              "multi-query associative recall: pairs of keys and values, then the keys in another order; "
              "each asks for its value",
          .keys = {{.name = "num_pairs",
                    .type = Type::whole,
                    .default_value = 8,
                    .minimum = 1,
                    .maximum = 1 << 20,
                    .doc = "pairs, each asked for once; 4 tokens each at least"},
                   {.name = "power_a",
                    .type = Type::real,
                    .default_value = 0.01,
                    .minimum = 0,
                    .maximum = 1,
                    .doc = "places of the queries i = 1, 2 … have weights i^(power_a - 1); 1: uniform"},
                   {.name = "filler",
                    .type = Type::choice,
                    .default_value = 0,
                    .choices = {"random", "zero"},
                    .doc = "what stands between queries; random: any ids but those of the pairs"},
                   vocab_size_key()},
          .make = [](const TaskSetting& setting) -> std::unique_ptr<Task> {
            return std::make_unique<Mqar>(setting);
          }};
}

}  // namespace sisa::data
