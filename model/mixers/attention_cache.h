// Keys and values of the tokens that an attention mixer has seen.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/mixers/mixer.h"

namespace sisa::model {

class AttentionCache final : public MixerCache {
 public:
  void join(const MixerCache& other) override;

  // Tokens of sequence b; 0 while empty.
  int64_t length(int64_t b) const { return lengths_.empty() ? 0 : lengths_[static_cast<size_t>(b)]; }
  // Adds T tokens to each sequence: key (B, T, H, d_qk), value (B, T, H, d_v).
  void append(const at::Tensor& key, const at::Tensor& value);
  // Attention of the T tokens that were appended last: query (B, T, H, d_qk) -> (B, T, H, d_v).
  at::Tensor attend(const at::Tensor& query, double scale) const;
  // Multiplies the channels of all keys from `channel` on by e^exponent, (B, H) fp64, at least -160.
  void scale_keys(int64_t channel, const at::Tensor& exponent);

  // Of mixers that augment the score: where each sequence stands, fp64. Undefined while empty.
  at::Tensor exponent;  // (B, H)
  at::Tensor phase;     // (B, H, d_state / 2)

 private:
  void reserve(int64_t num_tokens);

  std::vector<int64_t> lengths_;  // of each sequence; empty: none yet
  at::Tensor key_, value_;        // (B, capacity, H, ·); zero beyond a sequence's length
};

}  // namespace sisa::model
