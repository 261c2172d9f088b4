// Text, or any tokens, from a model: one token after another, for several prompts at once.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/language_model.h"

namespace sisa::model {

struct GenerateOptions {
  int64_t max_tokens = 256;
  double temperature = 1;   // > 0; divides the logits
  int64_t top_k = 0;        // keep the k likeliest tokens; 0: all
  double top_p = 1;         // keep the fewest likeliest tokens whose probabilities reach p, 0 < p <= 1
  bool greedy = false;      // the likeliest token, always; temperature, top_k and top_p do not matter
  uint64_t seed = 0;        // draw i of prompt p depends on (seed + p, i) alone
  int64_t vocab_size = 0;   // ids from this one on are never drawn, for tokenizers with fewer ids than the
                            // model; 0: the model's
  int64_t stop_token = -1;  // ends a text when drawn; it is not passed on
};

// Throws Error on an option out of range.
void validate(const GenerateOptions& options);

// The index drawn from `logits` (V) on the CPU, of any floating type; `draw` is uniform in (0, 1). Among
// equal logits the lower index comes first.
int64_t choose_token(const at::Tensor& logits, const GenerateOptions& options, double draw);

// Continues each of `prompts` (at least one token each) and hands over each new token at once: emit(p,
// token). All prompts go on together, a token at a time, with a cache; a model that cannot continue
// (published offset of SISA) reads each text anew for each token. There is no limit of length but memory.
// Each text is the one that its prompt alone would give with seed + p, but for the rounding of other shapes.
void generate(LanguageModel& model, const std::vector<std::vector<int64_t>>& prompts,
              const GenerateOptions& options, const at::Device& device,
              const std::function<void(size_t, int64_t)>& emit);

}  // namespace sisa::model
