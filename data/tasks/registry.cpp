#include "data/tasks/registry.h"

#include <c10/util/Exception.h>

#include <array>

#include "data/tasks/induction.h"
#include "data/tasks/mqar.h"
#include "data/tasks/niah.h"
#include "data/tasks/parity.h"
#include "data/tasks/selective_copying.h"

namespace sisa::data {

std::span<const TaskKind> task_kinds() {
  static const std::array table = {mqar_task(), niah_task(), induction_task(), selective_copying_task(),
                                   parity_task()};
  return table;
}

const TaskKind* find_task(const std::string& name) {
  for (const TaskKind& kind : task_kinds())
    if (kind.name == name) return &kind;
  return nullptr;
}

std::unique_ptr<Task> make_task(const TaskOptions& options, const TaskShape& shape) {
  const TaskKind* kind = find_task(options.name);
  TORCH_INTERNAL_ASSERT(kind != nullptr, options.name);
  return kind->make(TaskSetting(options, shape));
}

}  // namespace sisa::data
