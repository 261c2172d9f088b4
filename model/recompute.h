// Memory for time: a layer whose activations are not kept for the backward pass but computed again in it.
#pragma once

#include "model/layer.h"

namespace sisa::model {

// As layer.forward(stream), with the same results and gradients, bit for bit where the layer computes the
// same bits twice. Keeps the stream alone. The layer outlives the graph.
Stream recomputed(Layer& layer, const Stream& stream);

}  // namespace sisa::model
