// What defines a network. Keys are those of the golden files' `config` and of a recipe's `model:` section.
#pragma once

#include <cstdint>
#include <string>

namespace sisa::model {

struct ModelConfig {
  std::string system = "sisa";  // a row of the table in mixers/registry.h
  int64_t vocab_size = 50277;
  int64_t d_model = 768;
  int64_t num_layers = 12;
  int64_t num_heads = 12;  // d_head = d_model / num_heads, even
  int64_t d_ff = 2908;     // SwiGLU width; 0: no SwiGLU
  double rope_base = 10000;

  // sisa (spec section 1)
  int64_t d_state = 16;              // extra query and key channels a head, even
  std::string offset = "causal";     // causal (1.5 a) or minimax (as published, clamped)
  double clamp = 11;                 // of minimax
  double causal_offset = 60;         // c0 of causal: u = clamp(g + c0, -c0, c0)
  int64_t max_segments = 0;          // of causal, in training: each resolves 2 c0 nats of decay; 0: see below
  double alpha_bias = -5;            // initial value of alpha_proj.bias
  std::string decay = "learned";     // learned, none (alpha = 1)
  std::string rotation = "learned";  // learned, none (theta = 0)
  std::string lambda = "learned";    // learned, fixed (at its initial value)

  int64_t d_head() const { return d_model / num_heads; }
  // Of the training form of `causal`: max_segments or, if that is 0, as many as keep query and key within the
  // 192 channels that have fast kernels on GPUs, d_head + segments d_state; at least 1. Where attention is
  // our own (fused.h), 0 is none: it is exact without.
  int64_t num_segments() const;
};

// Throws Error on a value out of range or a combination that makes no network.
void validate(const ModelConfig& config);

// Logical parameters, without allocating any.
int64_t num_parameters(const ModelConfig& config);

// The d_ff >= 1 whose parameter count is nearest to `target`; throws Error if none is within half a step of
// d_ff.
int64_t match_d_ff(ModelConfig config, int64_t target);

}  // namespace sisa::model
