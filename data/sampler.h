// The order of the training data.
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

// A pure function from the number of a sample to its place in the data: no state, so that a run resumes
// exactly, at any number of ranks, from the number of samples consumed. The samples of one source go through
// its windows in a fresh pseudorandom order each epoch: every window once, then again. Several sources take
// turns by weight: among the first n samples, for any n up to 2^50, the number of each source's differs from
// its share by at most (1 + 1/1 + 1/2 + ... + 1/(K - 2)) / 2 samples, K being the number of sources: 1/2 for
// 2 sources, 1 for 3, under 2 for 12; besides n / 2^49, as weights are doubles.
class Sampler {
 public:
  struct Source {
    int64_t num_windows;  // >= 1
    double weight = 1;    // > 0, relative to the others; their sum is finite
  };
  Sampler(uint64_t seed, std::vector<Source> sources);

  // sample >= 0. Takes a few Philox calls and O(K).
  SampleLocation operator()(int64_t sample) const;
  int64_t source(int64_t sample) const { return turn(sample).source; }
  // The epoch of its source in which a sample lies, from 0.
  int64_t epoch(int64_t sample) const;

 private:
  struct Turn {
    int64_t source, index;  // the index-th sample of this source
  };
  Turn turn(int64_t sample) const;

  uint64_t seed_;
  std::vector<Source> sources_;
  std::vector<size_t> heaviest_first_;  // the sources by falling weight
  std::vector<uint64_t> shares_;        // times 2^62: of heaviest_first_[k] among itself and those after it
};

}  // namespace sisa::data
