// State-space-augmented attention (spec section 1): decayed and rotated state channels beside those of query
// and key.
#pragma once

#include <memory>

#include "model/mixers/mixer.h"

namespace sisa::model {

void validate_sisa(const ModelConfig& config);
std::unique_ptr<Mixer> make_sisa(const LayerContext& context);

}  // namespace sisa::model
