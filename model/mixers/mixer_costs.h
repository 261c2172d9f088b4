// What a mixer costs, counted from its shape, and the counts that several mixers share.
#pragma once

namespace sisa::model {

// Bytes of one number.
inline constexpr double bf16_bytes = 2, fp32_bytes = 4, fp64_bytes = 8;

// Bytes that cross a GPU's memory for a token, if every matrix product and every pass between products
// (operations/fused.h) reads each of its inputs and writes each of its outputs once, in bf16.
struct Traffic {
  double forward = 0, backward = 0;
  Traffic& operator+=(const Traffic& more) {
    forward += more.forward;
    backward += more.backward;
    return *this;
  }
  double sum() const { return forward + backward; }
};

// A matrix product of `in` numbers a token to `out`. Backward there are two: for the gradient of the weight and
// for that of the input.
inline Traffic product_traffic(double in, double out) {
  return {bf16_bytes * (in + out), 2 * bf16_bytes * (in + out)};
}

// An RMS norm of a stream of width d to which a change is added first. Forward it reads stream and change and
// writes the sum and the normed sum; backward it reads the sum and the gradients of both and writes one.
inline Traffic norm_traffic(double d) {
  return {bf16_bytes * 4 * d, bf16_bytes * 4 * d};
}

// For one token, on average over a sequence of the length that was asked for.
struct MixerCosts {
  // Floating-point operations of the forward pass beside the products with the mixer's matrices, which are
  // counted from its parameters: 2 for each multiplication and addition that the definition asks for; of a
  // recurrence, that its form in chunks does (spec 4, 5). Norms, gates' functions and softmax are not
  // counted.
  double flops = 0;
  // The share of the mixer in the usual estimate of a training step's operations, 6 N + 12 L d T (Chowdhery et
  // al., "PaLM", 2022, appendix B), beside 6 N: 12 times the width of attention times the length for
  // attention; for other mixers three times `flops`.
  double usual_flops = 0;
  Traffic activations;  // the products with its matrices included
  // Bytes of the cache that stands for a sequence of that length, in bf16 on a GPU, divided by the length.
  double cache_bytes = 0;
  MixerCosts& operator+=(const MixerCosts& more) {
    flops += more.flops;
    usual_flops += more.usual_flops;
    activations += more.activations;
    cache_bytes += more.cache_bytes;
    return *this;
  }
};

}  // namespace sisa::model
