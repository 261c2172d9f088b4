// FoX's forget gate (spec section 3) as channels of the key, as functions of tensors alone.
//
// With F_t the sum of log f up to and including t, the exponent of the weight that a query i gives to a key j
// <= i gains F_i - F_j. Softmax ignores F_i, which all keys of a query share, so that it is enough to add
// -F_j: as channels of the key, whose counterparts in the query are ones.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

namespace sisa::model {

// Channels in which a number is held in `type`: three in bf16, whose sum has the 24 bits of an fp32 number;
// else one.
int64_t num_bias_channels(at::ScalarType type);

// The key's channels (B, T, H, num_bias_channels(type)) that add `bias`, (B, T, H) fp64 nats, to the
// exponents of attention with this scale. The error is 2^-25 of the bias (fp64: 2^-53), and that of
// attention's sum.
at::Tensor bias_channels(const at::Tensor& bias, double scale, at::ScalarType type);

// Adds `change`, (B, H) fp64 nats, to what the channels (B, S, H, num_bias_channels) of keys add, in place.
void change_bias(const at::Tensor& channels, const at::Tensor& change, double scale);

}  // namespace sisa::model
