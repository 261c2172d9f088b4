#include "data/tasks/niah.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"

namespace sisa::data {
namespace {

class Niah final : public Task {
 public:
  explicit Niah(const TaskSetting& setting)
      : value_length_(setting.count("value_length")),
        vocab_size_(setting.vocab_size(3, "a key and two others")) {
    setting.check_length(2 * value_length_ + 1,
                         fmt::format("value_length {}: needle and question", value_length_));
    const double shallow = setting.number("depth_min"), deep = setting.number("depth_max");
    if (shallow > deep)
      throw Error("The task niah has depth_min {} above depth_max {}. Exchange them.", shallow, deep);
    const auto last = static_cast<double>(setting.sequence_length() - 2 * value_length_ - 1);
    first_start_ = static_cast<int64_t>(shallow * last);
    last_start_ = static_cast<int64_t>(deep * last);
  }

  int64_t num_targets() const override { return value_length_; }

  void generate(Draws draws, std::span<int64_t> inputs, std::span<int64_t> targets) const override {
    const int64_t key = draws.below(vocab_size_);
    for (int64_t& id : inputs) {
      id = draws.below(vocab_size_ - 1);
      id += id >= key;  // uniform over all ids but the key
    }
    const auto length = static_cast<size_t>(value_length_), question = inputs.size() - length;
    const auto start = static_cast<size_t>(draws.between(first_start_, last_start_));
    inputs[start] = inputs[question] = key;
    const std::span<const int64_t> value = inputs.subspan(start + 1, length);
    std::copy(value.begin(), value.end() - 1, inputs.begin() + static_cast<int64_t>(question) + 1);
    std::copy(value.begin(), value.end(), targets.begin() + static_cast<int64_t>(question));
  }

 private:
  int64_t value_length_, vocab_size_;
  int64_t first_start_ = 0, last_start_ = 0;  // where the needle may begin, both inclusive
};

}  // namespace

TaskKind niah_task() {
  using Type = TaskKey::Type;
  return {.name = "niah",
          .doc =
              "a needle in a haystack: a key and its value amid random tokens; at the end the key asks for "
              "the value",
          .keys = {{.name = "value_length",
                    .type = Type::whole,
                    .default_value = 4,
                    .minimum = 1,
                    .maximum = 1 << 20,
                    .doc = "tokens of the value, each of which is predicted"},
                   {.name = "depth_min",
                    .type = Type::real,
                    .default_value = 0,
                    .minimum = 0,
                    .maximum = 1,
                    .doc = "where in the haystack the needle may begin: 0 at its start …"},
                   {.name = "depth_max",
                    .type = Type::real,
                    .default_value = 1,
                    .minimum = 0,
                    .maximum = 1,
                    .doc = "… 1 at its end"},
                   vocab_size_key()},
          .make = [](const TaskSetting& setting) -> std::unique_ptr<Task> {
            return std::make_unique<Niah>(setting);
          }};
}

}  // namespace sisa::data
