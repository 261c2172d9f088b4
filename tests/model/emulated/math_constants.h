// See cuda_runtime.h beside this.
#pragma once

#include <limits>

inline constexpr float CUDART_INF_F = std::numeric_limits<float>::infinity();
