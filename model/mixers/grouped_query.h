// Attention whose query heads share keys and values, as the hybrids have it.
#pragma once

#include <string>

#include "model/mixers/attention_mixer.h"

namespace sisa::model {

// Its parameters' names begin with `prefix`.
class GroupedQueryAttention final : public AttentionMixer {
 public:
  GroupedQueryAttention(const LayerContext& context, const std::string& prefix, const AttentionShape& shape)
      : AttentionMixer(with_prefix(context, prefix), shape) {
    pad_projections();
  }
  std::string norm_name() const override { return "norm"; }

 private:
  static LayerContext with_prefix(LayerContext context, const std::string& prefix) {
    context.prefix = prefix;
    return context;
  }
};

// 0, the default, becomes a number in the system's `complete`.
Key num_kv_heads_key();
// num_kv_heads, if it is 0, becomes num_heads / divisor, at least 1.
void complete_num_kv_heads(ModelConfig& config, int64_t divisor);
// multi_head_shape with num_kv_heads.
AttentionShape grouped_query_shape(const ModelConfig& config, double rope_base);
// Throws ConfigError where num_kv_heads does not divide num_heads.
void validate_kv_heads(const ModelConfig& config);

}  // namespace sisa::model
