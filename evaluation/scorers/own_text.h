// The loss on a text of the user's own, all of it.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "evaluation/scorer.h"
#include "model/language_model.h"

namespace sisa::evaluation {

struct OwnText {
  std::string name;             // for people
  std::vector<int64_t> tokens;  // at least 2; the first is context alone, every other one is predicted once
  int64_t bytes = 0;            // UTF-8 bytes that the predicted tokens stand for; 0: unknown
};

// Predicts the tokens in windows of sequence_length, one after the other, the last one shorter; the context of
// a token is what comes before it in its window and the token before that. Sums: nats and tokens, and both
// for each range of context_range(). `model`, which lies on `device`, and `text` must outlive the scorer.
std::unique_ptr<Scorer> make_own_text(const OwnText& text, model::LanguageModel& model,
                                      const at::Device& device, int64_t micro_batch, int64_t sequence_length);

// The loss is also summed by the number of tokens before the predicted one, in ranges that double: 1, 2 to 3,
// 4 to 7 ….
struct ContextRange {
  int64_t first, last;       // tokens of context, both included
  std::string nats, tokens;  // the names of its sums
};
std::vector<ContextRange> context_ranges(int64_t sequence_length);

}  // namespace sisa::evaluation
