#include "data/tasks/selective_copying.h"

#include <fmt/format.h>

#include <algorithm>

namespace sisa::data {
namespace {

constexpr int64_t noise = 0, question = 1, first_data = 2;

class SelectiveCopying final : public Task {
 public:
  explicit SelectiveCopying(const TaskSetting& setting)
      : num_data_(setting.count("num_data")),
        vocab_size_(setting.vocab_size(first_data + 2, "noise, the question and two for data")) {
    setting.check_length(2 * num_data_, fmt::format("num_data {}: each once and once asked for", num_data_));
  }

  int64_t num_targets() const override { return num_data_; }

  void generate(Draws draws, std::span<int64_t> inputs, std::span<int64_t> targets) const override {
    const auto begin_of_questions = static_cast<int64_t>(inputs.size()) - num_data_;
    std::vector<int64_t> places = draws.distinct(num_data_, begin_of_questions);
    std::sort(places.begin(), places.end());
    std::fill(inputs.begin(), inputs.begin() + begin_of_questions, noise);
    std::fill(inputs.begin() + begin_of_questions, inputs.end(), question);
    for (size_t i = 0; i < places.size(); ++i)
      inputs[static_cast<size_t>(places[i])] = targets[static_cast<size_t>(begin_of_questions) + i] =
          draws.between(first_data, vocab_size_ - 1);
  }

 private:
  int64_t num_data_, vocab_size_;
};

}  // namespace

TaskKind selective_copying_task() {
  return {.name = "selective_copying",
          .doc = "data tokens at random places amid noise, to be repeated in order at the end",
          .keys = {{.name = "num_data",
                    .type = TaskKey::Type::whole,
                    .default_value = 16,
                    .minimum = 1,
                    .maximum = 1 << 20,
                    .doc = "data tokens; the paper's is 16, with vocab_size 16 and sequences of 4096"},
                   vocab_size_key()},
          .make = [](const TaskSetting& setting) -> std::unique_ptr<Task> {
            return std::make_unique<SelectiveCopying>(setting);
          }};
}

}  // namespace sisa::data
