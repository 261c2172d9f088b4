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

// Both (B, T), int64, on the CPU. Of text, targets are the inputs' successors; of a task, they are no_target
// where nothing is predicted.
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
    std::variant<TokenDataset, TaskSamples> content;
    double weight = 1;
  };
  // Throws Error if a dataset is shorter than one window. Tasks are of the same sequence length.
  Loader(std::vector<Source> sources, int64_t sequence_length, uint64_t seed);

  // The samples [first, first + count) of the run, count >= 1.
  Batch read(int64_t first, int64_t count) const;
  // Predicted tokens of these samples; found without reading them.
  int64_t num_targets(int64_t first, int64_t count) const;
  int64_t samples_per_epoch() const;  // windows of all datasets together
  const Sampler& sampler() const { return sampler_; }

 private:
  std::vector<Source> sources_;
  int64_t sequence_length_;
  std::vector<int64_t> num_targets_;  // of a sample of each source
  Sampler sampler_;
};

// All held-out windows of datasets, in order, and then all held-out samples of tasks.
class HeldOut {
 public:
  // May be empty; a dataset that is shorter than one window adds none.
  HeldOut(std::vector<TokenDataset> datasets, int64_t sequence_length, std::vector<TaskSamples> tasks = {});
  int64_t size() const { return starts_.back(); }  // windows and samples
  int64_t num_windows() const { return starts_[datasets_.size()]; }
  // Where the samples of each task lie.
  struct Range {
    std::string task;
    int64_t begin, end;
  };
  std::vector<Range> tasks() const;
  // What stands at [first, first + count), count >= 1, all of it below size().
  Batch read(int64_t first, int64_t count) const;
  int64_t sequence_length() const { return sequence_length_; }
  // Of the datasets: tokens (end-of-document included) for each UTF-8 byte of the text, which turns nats a
  // token into nats a byte. 0 without data, or if how much text a dataset stands for is not known.
  double tokens_per_byte() const;

 private:
  std::vector<TokenDataset> datasets_;
  int64_t sequence_length_;
  std::vector<TaskSamples> tasks_;
  std::vector<int64_t> starts_ = {0};  // of each dataset and each task, and the end
};

}  // namespace sisa::data
