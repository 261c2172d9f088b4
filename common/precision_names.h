// The precision modes by name, as recipes, checkpoints and messages write them.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "common/precision.h"

namespace sisa::common {

inline constexpr std::array<std::pair<std::string_view, Precision>, 4> precision_names = {
    {{"bf16", Precision::bf16},
     {"bf16_pure", Precision::bf16_pure},
     {"fp32", Precision::fp32},
     {"fp64", Precision::fp64}}};

std::string_view precision_name(Precision precision);

}  // namespace sisa::common
