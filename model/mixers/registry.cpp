#include "model/mixers/registry.h"

#include <array>
#include <vector>

#include "common/error.h"
#include "common/text.h"
#include "model/mixers/sisa.h"
#include "model/mixers/transformer.h"

namespace sisa::model {

std::span<const System> systems() {
  static const std::array table = {
      System{"transformer", "attn_norm", validate_transformer, make_transformer},
      System{"sisa", "attn_norm", validate_sisa, make_sisa},
  };
  return table;
}

const System& find_system(const std::string& name) {
  std::vector<std::string> names;
  for (const System& system : systems()) {
    if (system.name == name) return system;
    names.push_back(system.name);
  }
  const std::string near = common::nearest(name, names);
  throw Error("model.system is '{}'; there are {}.{}", name, common::join_choices(names),
              near.empty() ? "" : fmt::format(" Did you mean '{}'?", near));
}

}  // namespace sisa::model
