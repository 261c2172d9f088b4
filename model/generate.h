// Text, or any tokens, from a model: one token after another.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/language_model.h"

namespace sisa::model {

struct GenerateOptions {
  int64_t max_tokens = 256;
  double temperature = 1;      // > 0; divides the logits
  int64_t top_k = 0;           // keep the k likeliest tokens; 0: all
  double top_p = 1;            // keep the fewest likeliest tokens whose probabilities reach p, 0 < p <= 1
  bool greedy = false;         // the likeliest token, always; temperature, top_k and top_p do not matter
  uint64_t seed = 0;           // draw i of a generation depends on (seed, i) alone
  int64_t context_length = 0;  // the model sees at most this many of the last tokens; > 0
  int64_t stop_token = -1;     // ends the text when drawn; it is not passed on
};

// Throws Error on an option out of range.
void validate(const GenerateOptions& options);

// The index drawn from `logits` (V) on the CPU, of any floating type; `draw` is uniform in (0, 1). Among
// equal logits the lower index comes first.
int64_t choose_token(const at::Tensor& logits, const GenerateOptions& options, double draw);

// Continues `prompt` (at least one token) and hands each new token to `emit` at once. Each step runs the
// whole context forward.
void generate(LanguageModel& model, std::vector<int64_t> prompt, const GenerateOptions& options,
              const at::Device& device, const std::function<void(int64_t)>& emit);

}  // namespace sisa::model
