// One layer of the residual network.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "common/parameter.h"
#include "model/mixers/mixer.h"
#include "model/operations/functional.h"

namespace sisa::model {

// The residual stream, (B, T, d_model), is x + delta; undefined: x. Adding is left to the next norm, which
// reads it anyway.
struct Stream {
  at::Tensor x, delta;
  at::Tensor value() const { return delta.defined() ? x + delta : x; }
};

// x <- x + mixer(norm(x)); then, if d_ff > 0 and the mixer's layer has one, a SwiGLU: x <- x + W_down(silu(W_gate
// n) * W_up n) with n = norm(x). Norm epsilon 1e-6.
class Layer {
 public:
  explicit Layer(const LayerContext& context);
  std::vector<common::Parameter*> parameters();
  Stream forward(const Stream& stream);  // for training
  // For evaluation, without a graph; (B, T, d_model) -> the same: the tokens continue the sequences in
  // `cache` (see Mixer::extend).
  at::Tensor extend(const at::Tensor& x, MixerCache& cache);
  // The same for whole sequences.
  at::Tensor evaluate(const at::Tensor& x);

  Mixer& mixer() { return *mixer_; }
  const Mixer& mixer() const { return *mixer_; }
  bool has_feed_forward() const { return d_ff_ > 0; }
  // The mixer's readings of the residual stream x that enters the layer.
  std::vector<Reading> read(const at::Tensor& x);

 private:
  Normed mixer_input(const Stream& stream);
  Stream with_swiglu(const Stream& stream);

  at::ScalarType statistics_;
  std::unique_ptr<Mixer> mixer_;
  int64_t d_ff_ = 0;  // physical; 0: no SwiGLU
  common::Parameter mixer_norm_, swiglu_norm_;
  common::Parameter gate_up_;  // (2 d_ff, d_model): W_gate above W_up
  common::Parameter down_;     // (d_model, d_ff)
};

inline constexpr double block_norm_epsilon = 1e-6;

}  // namespace sisa::model
