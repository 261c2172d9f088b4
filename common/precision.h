// Which number type holds what in each precision mode (see docs/architecture.md, Numerics).
#pragma once

#include <c10/core/ScalarType.h>

namespace sisa::common {

enum class Precision {
  bf16,       // bf16 compute and matrices; fp32 vectors, masters, gradients and moments; default on GPUs
  bf16_pure,  // the published code's: everything bf16, moments too, without masters; lambda_raw fp32
  fp32,       // everything fp32, TF32 off; default on the CPU
  fp64,       // everything fp64, sums over ranks too; CPU, for tests
};

// Decides a parameter's number type and its optimizer settings.
enum class Group {
  matrix,  // enters a matrix product; the embedding too
  vector,  // norm weights, biases, other per-channel and per-head values
  lambda,  // SISA's lambda_raw: own learning rate, never decayed, fp32 even in bf16_pure
};

inline bool is_bf16(Precision p) {
  return p == Precision::bf16 || p == Precision::bf16_pure;
}

// Activations, the residual stream and GEMM inputs.
inline c10::ScalarType compute_type(Precision p) {
  return is_bf16(p) ? c10::kBFloat16 : p == Precision::fp64 ? c10::kDouble : c10::kFloat;
}
// Norm statistics, softplus, exp, cumulative sums, phases, softmax, loss.
inline c10::ScalarType statistics_type(Precision p) {
  return p == Precision::fp64 ? c10::kDouble : c10::kFloat;
}
// The values that the model computes with.
inline c10::ScalarType value_type(Precision p, Group g) {
  if (p == Precision::bf16) return g == Group::matrix ? c10::kBFloat16 : c10::kFloat;
  if (p == Precision::bf16_pure) return g == Group::lambda ? c10::kFloat : c10::kBFloat16;
  return compute_type(p);
}
// Gradients, master weights and moments (bf16_pure has no masters: there this is the value's own type).
inline c10::ScalarType state_type(Precision p, Group g) {
  return p == Precision::bf16_pure ? value_type(p, g) : statistics_type(p);
}

}  // namespace sisa::common
