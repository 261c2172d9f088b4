// The table of tasks: adding one is a file beside this one and a row in registry.cpp.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "data/tasks/kind.h"

namespace sisa::data {

std::span<const TaskKind> task_kinds();
// The kind of that name; nullptr if there is none.
const TaskKind* find_task(const std::string& name);
// Throws Error if the values do not fit together or into the shape.
std::unique_ptr<Task> make_task(const TaskOptions& options, const TaskShape& shape);

}  // namespace sisa::data
