// The precision modes, and the number types in which each of them computes (docs/architecture.md, Numerics).
// The number types of parameters and of their state are in common/parameter.h.
#pragma once

#include <c10/core/ScalarType.h>

namespace sisa::common {

enum class Precision {
  bf16,       // bf16 compute and matrices; fp32 vectors, masters, gradients and moments; default on GPUs
  bf16_pure,  // as the published code: everything is bf16, moments too, and there are no masters; only
              // parameters with ParameterTraits::never_bf16 are fp32
  fp32,       // everything fp32, with TF32 off; default on the CPU
  fp64,       // everything fp64, sums over ranks too; on the CPU, for tests
};

inline bool is_bf16(Precision p) {
  return p == Precision::bf16 || p == Precision::bf16_pure;
}

// The type of activations, of the residual stream and of the inputs of matrix products.
inline c10::ScalarType compute_type(Precision p) {
  return is_bf16(p) ? c10::kBFloat16 : p == Precision::fp64 ? c10::kDouble : c10::kFloat;
}
// The type of norms' statistics, softplus, exp, cumulative sums, phases, softmax and the loss.
inline c10::ScalarType statistics_type(Precision p) {
  return p == Precision::fp64 ? c10::kDouble : c10::kFloat;
}

}  // namespace sisa::common
