// The numbered samples of a task.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "data/split.h"
#include "data/tasks/task.h"

namespace sisa::data {

// The samples of a task in one split. Sample i is a pure function of the seed, the task's description, the
// split and i, so that any rank can make it at any time. No two samples use the same random numbers, whether
// they are of the same split or not. Where a task has few possible samples, such as the parity of 8 bits, two
// samples may still be equal by chance.
class TaskSamples {
 public:
  // Throws Error, saying what the task needs and what there is, if it does not fit the shape.
  TaskSamples(const TaskOptions& options, const TaskShape& shape, uint64_t seed, Split split);

  const std::string& name() const { return name_; }
  // Everything but the seed that decides the samples, in words: "mqar filler=random num_pairs=8 …".
  const std::string& description() const { return description_; }
  int64_t size() const { return size_; }
  int64_t num_targets() const { return task_->num_targets(); }
  // Fills both spans, which have sequence_length elements: `inputs` with ids below the vocabulary size,
  // `targets` with such ids or no_target. index < size().
  void read(int64_t index, std::span<int64_t> inputs, std::span<int64_t> targets) const;

 private:
  std::string name_, description_;
  std::shared_ptr<const Task> task_;
  uint64_t seed_;
  Split split_;
  int64_t size_;
};

}  // namespace sisa::data
