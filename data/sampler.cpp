#include "data/sampler.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "common/hash.h"
#include "common/random.h"

namespace sisa::data {
namespace {

// Of `n` turns, those that fall to a share of share / 2^32, rounded to the nearest: it grows by 0 or 1 from n
// to n + 1.
int64_t turns_of_share(int64_t n, uint64_t share) {
  return static_cast<int64_t>((static_cast<unsigned __int128>(n) * share + (uint64_t{1} << 31)) >> 32);
}

}  // namespace

Sampler::Sampler(uint64_t seed, std::vector<Source> sources) : seed_(seed), sources_(std::move(sources)) {
  TORCH_INTERNAL_ASSERT(!sources_.empty());
  double rest = 0;
  for (const Source& source : sources_) {
    TORCH_INTERNAL_ASSERT(source.num_windows > 0 && source.weight > 0);
    rest += source.weight;
  }
  for (const Source& source : sources_) {
    shares_.push_back(static_cast<uint64_t>(std::llround(std::min(1.0, source.weight / rest) * 0x1p32)));
    rest -= source.weight;
  }
  shares_.back() = uint64_t{1} << 32;
}

// The first source takes its share of all turns, evenly spread; the second takes its share of those that are
// left; and so on.
Sampler::Turn Sampler::turn(int64_t sample) const {
  for (size_t source = 0;; ++source) {
    const int64_t before = turns_of_share(sample, shares_[source]);
    if (turns_of_share(sample + 1, shares_[source]) > before) return {static_cast<int64_t>(source), before};
    sample -= before;
  }
}

SampleLocation Sampler::operator()(int64_t sample) const {
  const auto [source, index] = turn(sample);
  const int64_t num_windows = sources_[static_cast<size_t>(source)].num_windows, epoch = index / num_windows;
  const uint64_t stream =
      common::hash64("order of source " + std::to_string(source) + ", epoch " + std::to_string(epoch));
  const common::Permutation order(static_cast<uint64_t>(num_windows), seed_, stream);
  return {source, static_cast<int64_t>(order(static_cast<uint64_t>(index % num_windows)))};
}

int64_t Sampler::epoch(int64_t sample) const {
  const auto [source, index] = turn(sample);
  return index / sources_[static_cast<size_t>(source)].num_windows;
}

}  // namespace sisa::data
