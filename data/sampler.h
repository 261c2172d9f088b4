// The order of the training data.
#pragma once

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
// turns by weight: among the first n samples, for any n, each source's number is within num_sources / 2 of
// its share.
class Sampler {
 public:
  struct Source {
    int64_t num_windows;  // >= 1
    double weight = 1;    // > 0, relative to the others
  };
  Sampler(uint64_t seed, std::vector<Source> sources);

  SampleLocation operator()(int64_t sample) const;  // sample >= 0
  // The epoch of its source in which a sample lies, from 0.
  int64_t epoch(int64_t sample) const;

 private:
  struct Turn {
    int64_t source, index;  // the index-th sample of this source
  };
  Turn turn(int64_t sample) const;

  uint64_t seed_;
  std::vector<Source> sources_;
  std::vector<uint64_t> shares_;  // of source k among the sources from k on, times 2^32; the last is 2^32
};

}  // namespace sisa::data
