// Keys and values of the tokens that an attention mixer has seen.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/mixers/mixer.h"
#include "model/mixers/sequence_states.h"
#include "model/operations/attention_shape.h"

namespace sisa::model {

// H query heads, G key and value heads. Keys that no later query sees, since they lie beyond the shape's window
// and are none of its prefix, are forgotten.
class AttentionCache final : public MixerCache {
 public:
  explicit AttentionCache(const AttentionShape& shape) : shape_(shape) {}
  void join(const MixerCache& other) override;

  // Tokens that sequence b has had, those forgotten included; 0 while empty.
  int64_t length(int64_t b) const { return lengths_.empty() ? 0 : lengths_[static_cast<size_t>(b)]; }
  // Positions of the tokens that come next, of each of `num_sequences` sequences.
  std::vector<int64_t> next_positions(int64_t num_sequences) const;
  // Keys that are held, of the sequence that has most.
  int64_t num_held() const { return key_.defined() ? key_.size(1) : 0; }
  // Adds T tokens to each sequence: key (B, T, G, d_qk), value (B, T, G, d_value).
  void append(const at::Tensor& key, const at::Tensor& value);
  // Attention of the T tokens that were appended last: query (B, T, H, d_qk) -> (B, T, H, d_value).
  at::Tensor attend(const at::Tensor& query) const;
  // The channels of all keys from `channel` on, (B, num_held(), G, ·), to be changed in place; those beyond
  // what a sequence holds are unspecified. Undefined while empty.
  at::Tensor key_channels(int64_t channel) const;
  // Multiplies these channels by e^exponent, (B, G) fp64, at least -160.
  void scale_keys(int64_t channel, const at::Tensor& exponent);

  SequenceStates states;  // the mixer's own

 private:
  void reserve(int64_t num_tokens);
  void forget();
  int64_t held(size_t b) const { return lengths_[b] - forgotten_[b]; }

  AttentionShape shape_;
  std::vector<int64_t> lengths_;    // of each sequence; empty: none yet
  std::vector<int64_t> forgotten_;  // of these, tokens after the prefix that are held no more
  at::Tensor key_, value_;          // (B, capacity, G, ·); unspecified beyond what a sequence holds
};

}  // namespace sisa::model
