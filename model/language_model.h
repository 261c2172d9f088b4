// Token ids in, loss or logits out. Knows nothing of ranks, files or recipes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "common/parameter.h"
#include "common/precision.h"
#include "model/config.h"

namespace sisa::model {

class Layer;

// Embedding, layers (pre-norm mixer, then pre-norm SwiGLU if d_ff > 0), final norm, head tied to the
// embedding. The parameters hold no memory until a parallel::ParameterSpace binds them.
class LanguageModel {
 public:
  // pad_to: physical rows and widths of stored matrices are rounded up to this multiple with zeros (tensor
  // cores want 64).
  LanguageModel(const ModelConfig& config, common::Precision precision, int64_t pad_to = 8);
  LanguageModel(const LanguageModel&) = delete;
  LanguageModel& operator=(const LanguageModel&) = delete;
  ~LanguageModel();

  const ModelConfig& config() const { return config_; }
  std::vector<common::Parameter*> parameters();  // in the order embedding, layers, final norm

  // Sum over all tokens of the cross entropy, a scalar of statistics_type with its graph; `backward()` on it
  // adds to the parameters' gradients. tokens, targets: (B, T) int64, ids in [0, vocab_size). The whole
  // logits are never held at once.
  at::Tensor loss_sum(const at::Tensor& tokens, const at::Tensor& targets);
  // (B, T) cross entropy of each token, without a graph.
  at::Tensor token_losses(const at::Tensor& tokens, const at::Tensor& targets);
  // (B, T, vocab_size) of statistics_type. With `hidden`, also the residual stream after every layer, (B, T,
  // d_model).
  at::Tensor logits(const at::Tensor& tokens, std::vector<at::Tensor>* hidden = nullptr);

 private:
  at::Tensor final_hidden(const at::Tensor& tokens, std::vector<at::Tensor>* hidden);  // after the final norm

  ModelConfig config_;
  common::Precision precision_;
  common::Parameter embedding_;
  std::vector<std::unique_ptr<Layer>> layers_;
  common::Parameter final_norm_;
};

}  // namespace sisa::model
