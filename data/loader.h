// Batches of training samples and of held-out ones.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "data/sampler.h"
#include "data/tasks/samples.h"
#include "data/tokens/dataset.h"

namespace sisa::data {

// Token ids of B samples of T tokens: both tensors have the shape (B, T), the type int64, and are on the CPU.
// For text the target of a token is the token that follows it. For a task it is no_target where nothing is
// predicted.
struct Batch {
  at::Tensor inputs, targets;
};

// The number of windows of T + 1 tokens at a stride of T. Neighbouring windows share one token, so that each
// token but the first is predicted once. A rest of fewer than T tokens at the end is never read.
int64_t num_windows(int64_t tokens, int64_t sequence_length);

// The training samples of a run, numbered in the order in which the Sampler draws them from the sources.
class Loader {
 public:
  struct Source {
    std::variant<TokenDataset, TaskSamples> content;
    double weight = 1;  // > 0; samples are drawn in proportion to it
  };
  // `sequence_length`: tokens of a sample, also of the tasks' samples. Throws Error if a dataset is shorter
  // than one window.
  Loader(std::vector<Source> sources, int64_t sequence_length, uint64_t seed);

  // The samples [first, first + count) of the run, count >= 1.
  Batch read(int64_t first, int64_t count) const;
  // How many tokens of these samples are predicted. Does not read the samples.
  int64_t num_targets(int64_t first, int64_t count) const;
  int64_t samples_per_epoch() const;  // the windows of all datasets together
  const Sampler& sampler() const { return sampler_; }

 private:
  std::vector<Source> sources_;
  int64_t sequence_length_;
  std::vector<int64_t> num_targets_;  // for each source: predicted tokens of one of its samples
  Sampler sampler_;
};

// The held-out samples: first all windows of the datasets, in order, then all samples of the tasks.
class HeldOut {
 public:
  // `datasets` may be empty. A dataset that is shorter than one window adds no sample.
  HeldOut(std::vector<TokenDataset> datasets, int64_t sequence_length, std::vector<TaskSamples> tasks = {});
  int64_t size() const { return starts_.back(); }  // windows and tasks' samples together
  int64_t num_windows() const { return starts_[datasets_.size()]; }
  // The samples [begin, end) are those of `task`.
  struct Range {
    std::string task;
    int64_t begin, end;
  };
  std::vector<Range> tasks() const;
  // The samples [first, first + count), count >= 1, all below size().
  Batch read(int64_t first, int64_t count) const;
  int64_t sequence_length() const { return sequence_length_; }
  // The datasets' tokens (end-of-document tokens included) for each UTF-8 byte of their text: the factor from
  // nats per token to nats per byte. 0 if there are no datasets, or if one does not say how many bytes its
  // text has.
  double tokens_per_byte() const;

 private:
  std::vector<TokenDataset> datasets_;
  int64_t sequence_length_;
  std::vector<TaskSamples> tasks_;
  std::vector<int64_t> starts_ = {0};  // the first sample of each dataset and each task, then size()
};

}  // namespace sisa::data
