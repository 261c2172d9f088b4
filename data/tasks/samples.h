// The samples of a task, of which each has a number.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "data/tasks/task.h"
#include "data/tokens/manifest.h"

namespace sisa::data {

// The samples of a task in one split. Sample i is a pure function of the seed, of all that describes the
// task, of the split and of i, so that any rank can make it at any time. The random numbers of two samples,
// of one split or of both, are never the same ones; but where a task has few possible samples, such as the
// parity of 8 bits, the same one comes up by chance.
class TaskSamples {
 public:
  // Throws Error if the task cannot be made in this shape: what it needs and what there is.
  TaskSamples(const TaskOptions& options, const TaskShape& shape, uint64_t seed, Split split);

  const std::string& name() const { return name_; }
  // All that decides the samples but the seed, in words: "mqar filler=random num_pairs=8 …".
  const std::string& description() const { return description_; }
  int64_t size() const { return size_; }
  int64_t num_targets() const { return task_->num_targets(); }
  // Fills a row each of sequence_length ids below the vocabulary, or no_target. index < size().
  void read(int64_t index, std::span<int64_t> inputs, std::span<int64_t> targets) const;

 private:
  std::string name_, description_;
  std::shared_ptr<const Task> task_;
  uint64_t seed_;
  Split split_;
  int64_t size_;
};

}  // namespace sisa::data
