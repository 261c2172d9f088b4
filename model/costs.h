// What training costs a GPU, counted from a network's shape.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace sisa::model {

// Floating-point operations of a forward pass, a token on average over a sequence of so many: 2 for each
// weight of the matrices (of the embedding as the head) and for each channel of each score that the causal
// mask leaves, and of each value it weighs (spec 1.3). Norms, gates' functions and softmax are not counted.
double forward_flops(const ModelConfig& config, int64_t sequence_length);

// Bytes that cross the GPU's memory in bf16 with fp32 gradients, forward and backward, if every matrix
// product and every pass between them (fused.h, with attention of our own) reads each of its inputs and
// writes each of its outputs once. `recomputed_layers` go forward twice
// (LanguageModel::set_recomputed_layers).
//
// Sizes are logical ones; what pads them adds less than 1 % to the paper's. Left out: what is one number a
// token (ids, losses, norms' scales), what all sequences share (cosines and sines of positions), exponents.
//
// Of activations, for a token.
double activation_bytes(const ModelConfig& config, int64_t recomputed_layers = 0);
// Of matrices and their gradients, for a micro-batch of so many tokens.
double weight_bytes(const ModelConfig& config, int64_t tokens, int64_t recomputed_layers = 0);

}  // namespace sisa::model
