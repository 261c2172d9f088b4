#include "data/tasks/induction.h"

namespace sisa::data {
namespace {

constexpr int64_t special = 0;

class Induction final : public Task {
 public:
  explicit Induction(const TaskSetting& setting)
      : vocab_size_(setting.vocab_size(3, "the special one and two others")) {
    setting.check_length(3, "the special token, its successor and the special token");
  }

  int64_t num_targets() const override { return 1; }

  void generate(Draws draws, std::span<int64_t> inputs, std::span<int64_t> targets) const override {
    for (int64_t& id : inputs) id = draws.between(special + 1, vocab_size_ - 1);
    const auto place = static_cast<size_t>(draws.below(static_cast<int64_t>(inputs.size()) - 2));
    inputs[place] = inputs.back() = special;
    targets.back() = inputs[place + 1];
  }

 private:
  int64_t vocab_size_;
};

}  // namespace

TaskKind induction_task() {
  return {.name = "induction",
          .doc =
              "induction heads: the token that followed a special one the first time, asked for by its "
              "return at the end",
          .keys = {vocab_size_key()},
          .make = [](const TaskSetting& setting) -> std::unique_ptr<Task> {
            return std::make_unique<Induction>(setting);
          }};
}

}  // namespace sisa::data
