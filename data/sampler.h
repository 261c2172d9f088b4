// The order in which training samples are drawn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sisa::data {

// Where a sample's tokens lie.
struct SampleLocation {
  int64_t source;  // index of the source
  int64_t window;  // index of the window within the source
  bool operator==(const SampleLocation&) const = default;
};

// A pure function from the number of a sample to its place in the data. It has no state, so that a run
// resumes exactly, at any number of ranks, from the number of samples consumed.
//
// The samples of one source visit each of its windows once per epoch, in a new pseudorandom order each epoch.
// Several sources take turns by weight. Among the first n samples, for any n up to 2^50, the number of
// samples from one of K sources differs from its share of n by at most (1 + 1/1 + 1/2 + ... + 1/(K - 2)) / 2
// (that is 1/2 for 2 sources, 1 for 3 and less than 2 for 12), plus n / 2^49 because weights are doubles.
class Sampler {
 public:
  struct Source {
    int64_t num_windows;  // >= 1
    double weight = 1;    // > 0, relative to the others; their sum is finite
  };
  Sampler(uint64_t seed, std::vector<Source> sources);

  // sample >= 0. Costs a few Philox calls and O(K).
  SampleLocation operator()(int64_t sample) const;
  int64_t source(int64_t sample) const { return turn(sample).source; }
  // The epoch, from 0, of its source to which a sample belongs.
  int64_t epoch(int64_t sample) const;

 private:
  struct Turn {
    int64_t source, index;  // the index-th sample, from 0, of this source
  };
  Turn turn(int64_t sample) const;

  uint64_t seed_;
  std::vector<Source> sources_;
  std::vector<size_t> heaviest_first_;  // the sources by descending weight
  // 2^62 times the weight of heaviest_first_[k] divided by the weight of all sources from k on.
  std::vector<uint64_t> shares_;
};

}  // namespace sisa::data
