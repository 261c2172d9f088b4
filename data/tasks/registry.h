// The table of tasks. To add a task, write a file in this folder and a row in registry.cpp.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "data/tasks/kind.h"

namespace sisa::data {

std::span<const TaskKind> task_kinds();
// The kind with that name, or nullptr.
const TaskKind* find_task(const std::string& name);
// Throws Error if the values contradict one another or the task does not fit the shape.
std::unique_ptr<Task> make_task(const TaskOptions& options, const TaskShape& shape);

}  // namespace sisa::data
