// Batches of training samples and of held-out windows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "data/dataset.h"
#include "data/sampler.h"

namespace sisa::data {

// Both (B, T), int64, on the CPU; targets are the inputs' successors.
struct Batch {
  at::Tensor inputs, targets;
};

// Windows of T + 1 tokens at stride T: neighbours share one token, so that each token but the first is
// predicted once. What is left at the end, under T tokens, is never read.
int64_t num_windows(int64_t tokens, int64_t sequence_length);

// Training samples by number.
class Loader {
 public:
  struct Source {
    TokenDataset dataset;
    double weight = 1;
  };
  // Throws Error if a source is shorter than one window.
  Loader(std::vector<Source> sources, int64_t sequence_length, uint64_t seed);

  // The samples [first, first + count) of the run, count >= 1.
  Batch read(int64_t first, int64_t count) const;
  int64_t samples_per_epoch() const;  // windows of all sources together
  const Sampler& sampler() const { return sampler_; }

 private:
  std::vector<Source> sources_;
  int64_t sequence_length_;
  Sampler sampler_;
};

// All windows of held-out data, in order.
class HeldOut {
 public:
  // May be empty of windows; a dataset that is shorter than one window adds none.
  HeldOut(std::vector<TokenDataset> datasets, int64_t sequence_length);
  int64_t size() const { return starts_.back(); }  // windows
  // The windows [first, first + count), count >= 1, all of them below size().
  Batch read(int64_t first, int64_t count) const;
  int64_t sequence_length() const { return sequence_length_; }
  // Tokens (end-of-document included) for each UTF-8 byte of the text: turns nats a token into nats a byte. 0
  // without data.
  double tokens_per_byte() const;

 private:
  std::vector<TokenDataset> datasets_;
  int64_t sequence_length_;
  std::vector<int64_t> starts_ = {0};  // of each dataset in windows, and the end
};

}  // namespace sisa::data
