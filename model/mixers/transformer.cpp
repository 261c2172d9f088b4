#include "model/mixers/transformer.h"

#include "model/mixers/attention_mixer.h"

namespace sisa::model {
namespace {

class Transformer final : public AttentionMixer {
 public:
  explicit Transformer(const LayerContext& context)
      : AttentionMixer(context, multi_head_shape(context.config, context.config.real("rope_base"))) {
    pad_projections();
  }
};

}  // namespace

System transformer_system() {
  return {.name = "transformer",
          .doc = "softmax attention with rotary positions",
          .keys = {num_heads_key(), rope_base_key()},
          .validate = validate_heads,
          .make_mixer = make_mixer<Transformer>};
}

}  // namespace sisa::model
