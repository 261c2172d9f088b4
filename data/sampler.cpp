#include "data/sampler.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "common/hash.h"
#include "common/random.h"

namespace sisa::data {
namespace {

constexpr int share_bits = 62;

// n share / 2^62, rounded to the nearest: how many of `n` turns belong to a source with that share. From n to
// n + 1 it grows by 0 or 1.
int64_t turns_of_share(int64_t n, uint64_t share) {
  const auto product = static_cast<unsigned __int128>(n) * share;
  return static_cast<int64_t>((product + (uint64_t{1} << (share_bits - 1))) >> share_bits);
}

}  // namespace

Sampler::Sampler(uint64_t seed, std::vector<Source> sources)
    : seed_(seed), sources_(std::move(sources)), heaviest_first_(sources_.size()), shares_(sources_.size()) {
  TORCH_INTERNAL_ASSERT(!sources_.empty());
  std::iota(heaviest_first_.begin(), heaviest_first_.end(), size_t{0});
  std::stable_sort(heaviest_first_.begin(), heaviest_first_.end(),
                   [this](size_t a, size_t b) { return sources_[a].weight > sources_[b].weight; });
  double rest = 0;
  for (size_t k = sources_.size(); k-- > 0;) {
    const auto& [num_windows, weight] = sources_[heaviest_first_[k]];
    rest += weight;
    TORCH_INTERNAL_ASSERT(num_windows > 0 && weight > 0 && std::isfinite(rest));
    shares_[k] = static_cast<uint64_t>(std::ldexp(weight / rest, share_bits));  // 2^62 for the last
  }
}

// The heaviest source takes its share of all turns, evenly spread; the next one takes its share of the turns
// that are left, and so on.
//
// Proof of the bound in sampler.h: sources are numbered from 0 by descending weight w, and R_j is the weight
// of the sources from j on. Rounding makes each source take up to 1/2 turn too many or too few. The error of
// source j - 1 changes the turns that are left, and the part w_k / R_j of it reaches source k, for every j =
// 1 ... k, in addition to the error 1/2 of source k itself. No source before k is lighter, so R_j >= (k - j +
// 1) w_k, and the sum is at most (1 + 1/1 + ... + 1/k) / 2. The last source, K - 1, takes all turns that are
// left and has no rounding error of its own: its sum is (1/1 + ... + 1/(K - 1)) / 2, which is not above the
// bound.
Sampler::Turn Sampler::turn(int64_t sample) const {
  for (size_t k = 0;; ++k) {
    const int64_t before = turns_of_share(sample, shares_[k]);
    if (turns_of_share(sample + 1, shares_[k]) > before)
      return {static_cast<int64_t>(heaviest_first_[k]), before};
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
