#include "data/loader.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::data {
namespace {

// Rows of windows, filled by `fill(row, span of T + 1 ids)`.
template <typename Fill>
Batch make_batch(int64_t count, int64_t sequence_length, const Fill& fill) {
  TORCH_INTERNAL_ASSERT(count > 0);
  const at::Tensor windows = at::empty({count, sequence_length + 1}, at::kLong);
  auto* data = windows.data_ptr<int64_t>();
  for (int64_t row = 0; row < count; ++row)
    fill(row, std::span(data + row * (sequence_length + 1), static_cast<size_t>(sequence_length + 1)));
  return {windows.narrow(1, 0, sequence_length).contiguous(),
          windows.narrow(1, 1, sequence_length).contiguous()};
}

std::vector<Sampler::Source> sampler_sources(const std::vector<Loader::Source>& sources,
                                             int64_t sequence_length) {
  std::vector<Sampler::Source> result;
  for (const auto& [dataset, weight] : sources) {
    const int64_t count = num_windows(dataset.tokens(), sequence_length);
    if (count == 0)
      throw Error(
          "A sample needs data.sequence_length + 1 = {} tokens, but the training split of {} has only {}. "
          "Choose a shorter sequence or bring more text.",
          common::format_count(sequence_length + 1), dataset.folder().string(),
          common::format_count(dataset.tokens()));
    result.push_back({count, weight});
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
      sampler_(seed, sampler_sources(sources_, sequence_length)) {}

Batch Loader::read(int64_t first, int64_t count) const {
  return make_batch(count, sequence_length_, [&](int64_t row, std::span<int64_t> ids) {
    const SampleLocation location = sampler_(first + row);
    sources_[static_cast<size_t>(location.source)].dataset.read(location.window * sequence_length_, ids);
  });
}

int64_t Loader::samples_per_epoch() const {
  int64_t sum = 0;
  for (const Source& source : sources_) sum += num_windows(source.dataset.tokens(), sequence_length_);
  return sum;
}

HeldOut::HeldOut(std::vector<TokenDataset> datasets, int64_t sequence_length)
    : datasets_(std::move(datasets)), sequence_length_(sequence_length) {
  for (const TokenDataset& dataset : datasets_)
    starts_.push_back(starts_.back() + num_windows(dataset.tokens(), sequence_length));
}

Batch HeldOut::read(int64_t first, int64_t count) const {
  TORCH_INTERNAL_ASSERT(first >= 0 && count <= size() - first);
  return make_batch(count, sequence_length_, [&](int64_t row, std::span<int64_t> ids) {
    const int64_t window = first + row;
    const auto i =
        static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), window) - starts_.begin()) - 1;
    datasets_[i].read((window - starts_[i]) * sequence_length_, ids);
  });
}

double HeldOut::tokens_per_byte() const {
  int64_t tokens = 0, bytes = 0;
  for (const TokenDataset& dataset : datasets_) tokens += dataset.tokens(), bytes += dataset.text_bytes();
  return bytes == 0 ? 0 : static_cast<double>(tokens) / static_cast<double>(bytes);
}

}  // namespace sisa::data
