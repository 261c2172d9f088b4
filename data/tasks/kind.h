// What a task's file provides: its name, its keys and how it is made.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/tasks/task.h"

namespace sisa::data {

// One key of a task in a recipe: a whole number, a number or, where there are `choices`, one of these, whose
// value is then its place among them.
struct TaskKey {
  enum class Type { whole, real, choice };
  std::string name;
  Type type;
  double default_value;
  double minimum = 0, maximum = 0;  // both included; not of a choice
  std::vector<std::string> choices = {};
  std::string doc;  // meaning, unit
};

// The values of a task's keys, all within their bounds, and what the task must fit into.
class TaskSetting {
 public:
  TaskSetting(const TaskOptions& options, const TaskShape& shape) : options_(options), shape_(shape) {}
  double number(const std::string& key) const { return options_.values.at(key); }
  int64_t count(const std::string& key) const { return static_cast<int64_t>(number(key)); }
  int64_t sequence_length() const { return shape_.sequence_length; }
  // The ids that the task may use: those below its key vocab_size, if it has one that is set, or else below
  // the model's. Throws Error if there are fewer than `needed`; `use` says for what: "2 for bits".
  int64_t vocab_size(int64_t needed, const std::string& use) const;
  // Throws Error if a sample has fewer than `needed` tokens.
  void check_length(int64_t needed, const std::string& use) const;

 private:
  const TaskOptions& options_;
  TaskShape shape_;
};

struct TaskKind {
  std::string name;  // in a recipe
  std::string doc;   // what is to be learned
  std::vector<TaskKey> keys;
  // Throws Error if the values do not fit together or into the shape.
  std::unique_ptr<Task> (*make)(const TaskSetting&);
};

// For tasks that may use fewer ids than the model has.
TaskKey vocab_size_key();

}  // namespace sisa::data
