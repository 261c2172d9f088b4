// What each task's file provides: the task's name, its keys in a recipe, and a function that makes it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/tasks/task.h"

namespace sisa::data {

// One key of a task in a recipe. Its value is a whole number, a number, or one of `choices`, which is stored
// as its index among them.
struct TaskKey {
  enum class Type { whole, real, choice };
  std::string name;
  Type type;
  double default_value;
  double minimum = 0, maximum = 0;  // both inclusive; without meaning for a choice
  std::vector<std::string> choices = {};
  std::string doc;  // meaning and unit
};

// The values of a task's keys, which are within their bounds, and the sizes that the task must fit.
class TaskSetting {
 public:
  TaskSetting(const TaskOptions& options, const TaskShape& shape) : options_(options), shape_(shape) {}
  double number(const std::string& key) const { return options_.values.at(key); }
  int64_t count(const std::string& key) const { return static_cast<int64_t>(number(key)); }
  int64_t sequence_length() const { return shape_.sequence_length; }
  // The number of token ids that the task may use: the value of its key vocab_size if it has one that is set,
  // otherwise the model's vocab_size. Throws Error if that is less than `needed`; `use` says what they are
  // needed for, such as "the bits".
  int64_t vocab_size(int64_t needed, const std::string& use) const;
  // Throws Error if a sample has fewer than `needed` tokens; `use` says what they are needed for.
  void check_length(int64_t needed, const std::string& use) const;

 private:
  const TaskOptions& options_;
  TaskShape shape_;
};

struct TaskKind {
  std::string name;  // as recipes write it
  std::string doc;   // what is to be learned, for docs/recipes.md
  std::vector<TaskKey> keys;
  // Throws Error if the values contradict one another or the task does not fit the shape.
  std::unique_ptr<Task> (*make)(const TaskSetting&);
};

// The key of tasks that may use fewer ids than the model has.
TaskKey vocab_size_key();

}  // namespace sisa::data
