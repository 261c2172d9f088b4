#include "data/tasks/samples.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>

#include "common/hash.h"
#include "common/random.h"
#include "data/tasks/registry.h"

namespace sisa::data {
namespace {

constexpr int64_t endless = int64_t{1} << 40;  // more samples than any run reads

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
  // Training samples use the even streams and held-out samples the odd ones.
  const uint64_t stream = 2 * static_cast<uint64_t>(index) + (split_ == Split::validation ? 1 : 0);
  task_->generate(Draws(seed_, stream), inputs, targets);
}

}  // namespace sisa::data
