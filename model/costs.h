// What training costs a GPU, counted from a network's shape.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace sisa::model {

// Floating-point operations of a forward pass, a token on average over a sequence of so many: 2 for each
// weight of the matrices (of the embedding as the head) and for each channel of each score that the causal
// mask leaves, and of each value it weighs (spec 1.3). Norms, gates' functions and softmax are not counted.
double forward_flops(const ModelConfig& config, int64_t sequence_length);

// Bytes that cross the GPU's memory for a token, forward and backward, in bf16 with fp32 gradients, if every
// matrix product and every pass between them (model/kernels) reads each of its inputs and writes each of its
// outputs once. What does not depend on tokens is not in it: see weight_bytes.
double activation_bytes(const ModelConfig& config);

// Of each parameter: in a micro-batch its value is read by the two products of input and gradient, and its
// gradient read and written; in a step its gradient is cleared, read for the norm and for AdamW, which reads
// and writes master and moments, and writes the value.
constexpr double weight_bytes_a_micro_batch = 2 * 2 + 2 * 4, weight_bytes_a_step = 3 * 4 + 6 * 4 + 2;

}  // namespace sisa::model
