// What a network amounts to, counted from its shape without allocating any: parameters, operations, bytes. Sums
// over its layers, each of which counts its own mixer (Mixer::costs).
#pragma once

#include <cstdint>

#include "model/config.h"

namespace sisa::model {

// Logical parameters.
int64_t num_parameters(const ModelConfig& config);

// The d_ff >= 1 whose parameter count is nearest to `target`; throws ConfigError if none is within half a step
// of d_ff.
int64_t match_d_ff(ModelConfig config, int64_t target);

// Floating-point operations of a forward pass, a token on average over a sequence of so many: 2 for each
// weight of the matrices (of the embedding as the head) and what the mixers add, which for attention is 2 for
// each channel of each score that the causal mask leaves, and of each value it weighs (spec 1.3).
double forward_flops(const ModelConfig& config, int64_t sequence_length);
// Operations of a training step, a token, as others estimate them: 6 for each parameter and the mixers' share
// (MixerCosts::usual_flops). What masks leave out and score augmentations add is not counted.
double usual_training_flops(const ModelConfig& config, int64_t sequence_length);

// Bytes that cross the GPU's memory in bf16 with fp32 gradients, forward and backward, if every matrix
// product and every pass between them (operations/fused.h, with attention of our own) reads each of its inputs
// and writes each of its outputs once. The first `recomputed_layers` go forward twice
// (LanguageModel::set_recomputed_layers).
//
// Sizes are logical; padding adds less than 1 % to those of the paper. Not counted: what is one number a token
// (ids, losses, norms' scales), what all sequences share (cosines and sines of positions), and exponents.
//
// The bytes of activations, for a token.
double activation_bytes(const ModelConfig& config, int64_t sequence_length, int64_t recomputed_layers = 0);
// The bytes of matrices and of their gradients, for a micro-batch of so many tokens.
double weight_bytes(const ModelConfig& config, int64_t tokens, int64_t recomputed_layers = 0);

// Bytes of the cache for each token of a sequence of so many, in bf16 on a GPU.
double cache_bytes(const ModelConfig& config, int64_t sequence_length);

}  // namespace sisa::model
