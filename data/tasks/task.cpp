#include "data/tasks/task.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "common/hash.h"
#include "data/tasks/registry.h"

namespace sisa::data {

int64_t Draws::below(int64_t bound) {
  return static_cast<int64_t>(random_.below(static_cast<uint64_t>(bound), next_++));
}

double Draws::uniform() {
  return random_.uniforms(next_++)[0];
}

// The first steps of Fisher and Yates's shuffle of 0, 1, 2 …, of which only what has moved is held.
std::vector<int64_t> Draws::distinct(int64_t count, int64_t bound) {
  TORCH_INTERNAL_ASSERT(count <= bound);
  std::unordered_map<int64_t, int64_t> moved;
  const auto at = [&](int64_t place) {
    const auto found = moved.find(place);
    return found == moved.end() ? place : found->second;
  };
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t place = between(i, bound - 1);
    chosen.push_back(at(place));
    moved[place] = at(i);
  }
  return chosen;
}

namespace {

constexpr int64_t endless = int64_t{1} << 40;  // samples: more than any run reads

std::string describe(const TaskOptions& options, const TaskShape& shape) {
  std::string text = options.name;
  for (const auto& [key, value] : options.values) text += fmt::format(" {}={}", key, value);
  return text +
         fmt::format(" model.vocab_size={} sequence_length={}", shape.vocab_size, shape.sequence_length);
}

int64_t num_samples(const TaskOptions& options, Split split) {
  if (split == Split::validation) return options.held_out;
  return options.samples == 0 ? endless : options.samples;
}

}  // namespace

TaskSamples::TaskSamples(const TaskOptions& options, const TaskShape& shape, uint64_t seed, Split split)
    : name_(options.name),
      description_(describe(options, shape)),
      task_(make_task(options, shape)),
      seed_(common::RandomStream(seed, common::hash64("task " + description_)).bits(0)),
      split_(split),
      size_(num_samples(options, split)) {}

void TaskSamples::read(int64_t index, std::span<int64_t> inputs, std::span<int64_t> targets) const {
  TORCH_INTERNAL_ASSERT(index >= 0 && index < size_);
  std::fill(targets.begin(), targets.end(), no_target);
  // Training samples have the even streams, held-out samples the odd ones.
  const uint64_t stream = 2 * static_cast<uint64_t>(index) + (split_ == Split::validation ? 1 : 0);
  task_->generate(Draws(seed_, stream), inputs, targets);
}

}  // namespace sisa::data
