// Softmax attention with rotary positions (spec section 2).
#pragma once

#include <memory>

#include "model/mixers/mixer.h"

namespace sisa::model {

void validate_transformer(const ModelConfig& config);
std::unique_ptr<Mixer> make_transformer(const LayerContext& context);

}  // namespace sisa::model
