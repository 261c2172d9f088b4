#include "model/mixers/transformer.h"

#include "common/error.h"
#include "model/mixers/attention_mixer.h"

namespace sisa::model {

void validate_transformer(const ModelConfig& c) {
  if (c.num_heads < 1) throw Error("model.num_heads is {}; it must be at least 1.", c.num_heads);
  if (c.d_model % c.num_heads != 0)
    throw Error(
        "model.d_model is {}, which model.num_heads = {} does not divide. Choose a width that is a multiple "
        "of the heads.",
        c.d_model, c.num_heads);
  if (c.d_head() % 2 != 0)
    throw Error(
        "A head is {} channels wide (model.d_model {} / model.num_heads {}), but rotary positions turn "
        "pairs: it must be even.",
        c.d_head(), c.d_model, c.num_heads);
  if (!(c.rope_base > 1)) throw Error("model.rope_base is {}; it must be above 1.", c.rope_base);
}

std::unique_ptr<Mixer> make_transformer(const LayerContext& context) {
  struct Transformer final : AttentionMixer {
    explicit Transformer(const LayerContext& c) : AttentionMixer(c) { pad_projections(); }
  };
  return std::make_unique<Transformer>(context);
}

}  // namespace sisa::model
