#include "data/tasks/parity.h"

namespace sisa::data {
namespace {

enum class Predict { each, last };

class Parity final : public Task {
 public:
  explicit Parity(const TaskSetting& setting)
      : num_targets_(
            static_cast<Predict>(setting.count("predict")) == Predict::each ? setting.sequence_length() : 1) {
    setting.vocab_size(2, "the bits");
  }

  int64_t num_targets() const override { return num_targets_; }

  void generate(Draws draws, std::span<int64_t> inputs, std::span<int64_t> targets) const override {
    int64_t parity = 0;
    const size_t first_target = targets.size() - static_cast<size_t>(num_targets_);
    for (size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = draws.below(2);
      parity ^= inputs[i];
      if (i >= first_target) targets[i] = parity;
    }
  }

 private:
  int64_t num_targets_;
};

}  // namespace

TaskKind parity_task() {
  return {.name = "parity",
          .doc = "whether the number of ones among the bits so far is odd",
          .keys = {{.name = "predict",
                    .type = TaskKey::Type::choice,
                    .default_value = 0,
                    .choices = {"each", "last"},
                    .doc = "at each position, or at the last alone"}},
          .make = [](const TaskSetting& setting) -> std::unique_ptr<Task> {
            return std::make_unique<Parity>(setting);
          }};
}

}  // namespace sisa::data
