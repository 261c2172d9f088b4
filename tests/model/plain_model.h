// The networks of all systems in plain LibTorch, from the direct forms of docs/systems.md: scores by their
// definition, with an explicit matrix of decays, states token by token, and ordinary autograd. Slow; shares
// nothing with model/ but its config.
//
// In bf16 it is what PyTorch under autocast computes: weights, activations, the residual stream and gradients
// are bf16, matrix products are rounded to bf16; norms' statistics, sums along the sequence, softplus, exp,
// rotations, softmax, states and loss are fp32. lambda_raw stays fp32.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "model/config.h"

namespace sisa::tests {

// How sisa's scores are formed.
enum class ScoreForm {
  direct,     // the sum of both scores, each by its definition
  augmented,  // one product of query and key with the state's channels, rounded to `type` before it, as the
              // published code has it; in bf16 by LibTorch's scaled_dot_product_attention
};

class PlainModel {
 public:
  // parameters: by official name; of any type, rounded to `type`.
  PlainModel(const model::ModelConfig& config, const std::map<std::string, at::Tensor>& parameters,
             at::ScalarType type, ScoreForm form = ScoreForm::direct);

  struct Result {
    at::Tensor logits;               // (B, T, vocab_size)
    at::Tensor loss;                 // mean cross entropy, with its graph
    std::vector<at::Tensor> hidden;  // the residual stream after each layer, (B, T, d_model)
  };
  Result operator()(const at::Tensor& tokens, const at::Tensor& targets) const;  // (B, T) int64

  // Leaves; after `loss.backward()` their grad() is that of the mean loss.
  const std::map<std::string, at::Tensor>& parameters() const { return parameters_; }

 private:
  const at::Tensor& parameter(const std::string& name) const { return parameters_.at(name); }
  // A weight that is longer than x's last dimension is that of heads, each with its own.
  at::Tensor norm(const at::Tensor& x, const std::string& weight, double epsilon = 1e-6) const;
  at::Tensor linear(const at::Tensor& x, const std::string& weight) const;
  at::Tensor with_positions(const at::Tensor& heads, double base) const;  // (B, T, H, n)
  // Causal attention: query (B, T, H, n), key, value (B, T, G, ·), `bias` (B, H, T, T) added to scores,
  // undefined: 0; hidden (T, T) bool, besides the future, undefined: nothing. (B, T, H ·).
  at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                       const at::Tensor& bias = {}, const at::Tensor& hidden = {}) const;

  // Mixers, of the layer whose parameters' names begin with `prefix`.
  at::Tensor mixer(const at::Tensor& x, int64_t layer, const std::string& prefix) const;
  at::Tensor sisa(const at::Tensor& x, const std::string& prefix) const;  // and transformer
  at::Tensor fox(const at::Tensor& x, const std::string& prefix) const;
  at::Tensor mamba2(const at::Tensor& x, const std::string& prefix) const;
  at::Tensor mamba3(const at::Tensor& x, const std::string& prefix) const;
  at::Tensor grouped_query(const at::Tensor& x, const std::string& prefix, double rope_base) const;
  at::Tensor hymba(const at::Tensor& x, const std::string& prefix, bool full) const;
  // From [z x B C dt], (B, T, d_inner).
  at::Tensor mamba2_core(const at::Tensor& zxBCdt, const std::string& prefix) const;
  struct State {
    at::Tensor B, C;    // (B, T, H, d_state)
    at::Tensor g;       // (B, T, H), summed log alpha, less the offset of `minimax`
    at::Tensor phase;   // (B, T, H, d_state / 2)
    at::Tensor lambda;  // (H)
  };
  State state(const at::Tensor& x, const std::string& prefix) const;
  at::Tensor direct_scores(const State& s) const;
  static at::Tensor split_heads(const at::Tensor& x, int64_t num_heads) {
    return x.unflatten(-1, {num_heads, -1});
  }
  at::Tensor split_heads(const at::Tensor& x) const { return split_heads(x, config_.whole("num_heads")); }
  at::Tensor wide(const at::Tensor& x) const;  // in fp32, or wider if `type` is

  model::ModelConfig config_;
  at::ScalarType type_;
  ScoreForm form_;
  std::map<std::string, at::Tensor> parameters_;
};

// Interleaved pairs of z (…, n) by angles (…, n / 2).
at::Tensor rotate(const at::Tensor& z, const at::Tensor& angles);
// True where j > i, for tokens like those of x (B, T, …).
at::Tensor future(const at::Tensor& x);

}  // namespace sisa::tests
