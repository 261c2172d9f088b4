#include "data/loader.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::data {
namespace {

// A batch whose rows are filled by `fill(row, inputs, targets)`, where the latter are spans of T ids.
template <typename Fill>
Batch make_batch(int64_t count, int64_t sequence_length, const Fill& fill) {
  TORCH_INTERNAL_ASSERT(count > 0);
  const Batch batch{at::empty({count, sequence_length}, at::kLong),
                    at::empty({count, sequence_length}, at::kLong)};
  const auto row_of = [&](const at::Tensor& rows, int64_t row) {
    return std::span(rows.data_ptr<int64_t>() + row * sequence_length, static_cast<size_t>(sequence_length));
  };
  for (int64_t row = 0; row < count; ++row) fill(row, row_of(batch.inputs, row), row_of(batch.targets, row));
  return batch;
}

void read_window(const TokenDataset& dataset, int64_t window, std::span<int64_t> inputs,
                 std::span<int64_t> targets) {
  // Of the window's T + 1 tokens, the first T are the inputs and the last T are the targets.
  const auto length = static_cast<int64_t>(inputs.size());
  dataset.read(window * length, inputs);
  std::copy(inputs.begin() + 1, inputs.end(), targets.begin());
  dataset.read((window + 1) * length, targets.last(1));
}

int64_t count_samples(const TaskSamples& task, int64_t) {
  return task.size();
}
int64_t count_samples(const TokenDataset& dataset, int64_t sequence_length) {
  const int64_t count = num_windows(dataset.tokens(), sequence_length);
  if (count == 0)
    throw Error(
        "A sample needs data.sequence_length + 1 = {} tokens, but the training split of {} has only {}. "
        "Choose a shorter sequence or bring more text.",
        common::format_count(sequence_length + 1), dataset.path().string(),
        common::format_count(dataset.tokens()));
  return count;
}

std::vector<Sampler::Source> sampler_sources(const std::vector<Loader::Source>& sources,
                                             int64_t sequence_length) {
  std::vector<Sampler::Source> result;
  for (const auto& [content, weight] : sources)
    result.push_back(
        {std::visit([&](const auto& samples) { return count_samples(samples, sequence_length); }, content),
         weight});
  return result;
}

std::vector<int64_t> targets_by_source(const std::vector<Loader::Source>& sources, int64_t sequence_length) {
  std::vector<int64_t> result;
  for (const Loader::Source& source : sources) {
    const auto* task = std::get_if<TaskSamples>(&source.content);
    result.push_back(task ? task->num_targets() : sequence_length);
  }
  return result;
}

}  // namespace

int64_t num_windows(int64_t tokens, int64_t sequence_length) {
  return std::max<int64_t>(0, tokens - 1) / sequence_length;
}

Loader::Loader(std::vector<Source> sources, int64_t sequence_length, uint64_t seed)
    : sources_(std::move(sources)),
      sequence_length_(sequence_length),
      num_targets_(targets_by_source(sources_, sequence_length)),
      sampler_(seed, sampler_sources(sources_, sequence_length)) {}

Batch Loader::read(int64_t first, int64_t count) const {
  return make_batch(count, sequence_length_,
                    [&](int64_t row, std::span<int64_t> inputs, std::span<int64_t> targets) {
                      const SampleLocation location = sampler_(first + row);
                      const Source& source = sources_[static_cast<size_t>(location.source)];
                      if (const auto* task = std::get_if<TaskSamples>(&source.content))
                        task->read(location.window, inputs, targets);
                      else
                        read_window(std::get<TokenDataset>(source.content), location.window, inputs, targets);
                    });
}

int64_t Loader::num_targets(int64_t first, int64_t count) const {
  int64_t sum = 0;
  for (int64_t sample = first; sample < first + count; ++sample)
    sum += num_targets_[static_cast<size_t>(sampler_.source(sample))];
  return sum;
}

int64_t Loader::samples_per_epoch() const {
  int64_t sum = 0;
  for (const Source& source : sources_)
    if (const auto* dataset = std::get_if<TokenDataset>(&source.content))
      sum += num_windows(dataset->tokens(), sequence_length_);
  return sum;
}

HeldOut::HeldOut(std::vector<TokenDataset> datasets, int64_t sequence_length, std::vector<TaskSamples> tasks)
    : datasets_(std::move(datasets)), sequence_length_(sequence_length), tasks_(std::move(tasks)) {
  for (const TokenDataset& dataset : datasets_)
    starts_.push_back(starts_.back() + data::num_windows(dataset.tokens(), sequence_length));
  for (const TaskSamples& task : tasks_) starts_.push_back(starts_.back() + task.size());
}

std::vector<HeldOut::Range> HeldOut::tasks() const {
  std::vector<Range> ranges;
  for (size_t i = 0; i < tasks_.size(); ++i) {
    const size_t place = datasets_.size() + i;
    ranges.push_back({tasks_[i].name(), starts_[place], starts_[place + 1]});
  }
  return ranges;
}

Batch HeldOut::read(int64_t first, int64_t count) const {
  TORCH_INTERNAL_ASSERT(first >= 0 && count <= size() - first);
  return make_batch(
      count, sequence_length_, [&](int64_t row, std::span<int64_t> inputs, std::span<int64_t> targets) {
        const int64_t index = first + row;
        const auto i =
            static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), index) - starts_.begin()) -
            1;
        if (i < datasets_.size())
          read_window(datasets_[i], index - starts_[i], inputs, targets);
        else
          tasks_[i - datasets_.size()].read(index - starts_[i], inputs, targets);
      });
}

double HeldOut::tokens_per_byte() const {
  int64_t tokens = 0, bytes = 0;
  for (const TokenDataset& dataset : datasets_) {
    if (dataset.tokens() > 0 && dataset.text_bytes() == 0)
      return 0;  // the files of other programs do not say how much text they stand for
    tokens += dataset.tokens(), bytes += dataset.text_bytes();
  }
  return bytes == 0 ? 0 : static_cast<double>(tokens) / static_cast<double>(bytes);
}

}  // namespace sisa::data
