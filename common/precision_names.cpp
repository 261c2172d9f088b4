#include "common/precision_names.h"

#include <c10/util/Exception.h>

namespace sisa::common {

std::string_view precision_name(Precision precision) {
  for (const auto& [name, value] : precision_names)
    if (value == precision) return name;
  TORCH_INTERNAL_ASSERT(false, "a precision without a name: ", static_cast<int>(precision));
}

}  // namespace sisa::common
