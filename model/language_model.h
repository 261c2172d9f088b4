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
class MixerCache;
struct Reading;

// What a model remembers of the sequences that it continues. Movable.
class Cache {
 public:
  Cache();
  Cache(Cache&&) noexcept;
  Cache& operator=(Cache&&) noexcept;
  ~Cache();
  // Takes up the sequences of `other`, of the same model, after its own; lengths may differ.
  void join(const Cache& other);

 private:
  friend class LanguageModel;
  std::vector<std::unique_ptr<MixerCache>> layers_;
};

// Which form of the layers computes: what training differentiates, or what evaluation uses. They differ by
// rounding while SISA's decays stay within what the training form resolves; the evaluation form is exact at
// any range (spec 1.5, 1.7).
enum class Pass { evaluation, training };

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

  // From now on loss_sum keeps no activations of the first n layers for the backward pass, which computes
  // them again: less memory, more time, the same gradients. 0 <= n <= num_layers.
  void set_recomputed_layers(int64_t n);

  // Sum over all predicted tokens of the cross entropy, a scalar of statistics_type with its graph;
  // `backward()`, called on just that, adds to the parameters' gradients (where fused.h serves, the head's
  // are added by this call already). tokens, targets: (B, T) int64, ids in [0, vocab_size). Targets may lie
  // on the CPU, wherever the model is; then they may be negative, where nothing is predicted. The whole
  // logits are never held at once.
  at::Tensor loss_sum(const at::Tensor& tokens, const at::Tensor& targets);
  // What loss_sum leaves to LibTorch's operations, since kernels of our own (fused.h) do not fit the sizes,
  // the precision or the device: of "norms", what Mixer::left_to_libtorch names, "cross entropy". For people.
  std::vector<std::string> left_to_libtorch();
  // (token, head) pairs of all layers whose decay loss_sum could not represent, since the last call: an int64
  // scalar on the model's device; undefined for a system without such a limit. Recomputed layers count in
  // backward().
  at::Tensor take_num_limited();

  // Without a graph:

  // (B, T) cross entropy of each token, targets as above; 0 where nothing is predicted. With `correct`, also
  // whether the target is the likeliest token, (B, T) bool; false where nothing is predicted.
  at::Tensor token_losses(const at::Tensor& tokens, const at::Tensor& targets, at::Tensor* correct = nullptr);
  // (B, T, vocab_size) of statistics_type. With `hidden`, also the residual stream after every layer, (B, T,
  // d_model).
  at::Tensor logits(const at::Tensor& tokens, std::vector<at::Tensor>* hidden = nullptr,
                    Pass pass = Pass::evaluation);

  // Decoding. Whether this model can continue a sequence without reading it anew: SISA with the published
  // offset cannot, for that depends on the last token (spec 1.7).
  bool can_continue() const;
  Cache make_cache() const;  // empty
  // tokens (B, T) continue the B sequences in `cache`, which takes them up: (B, vocab_size) logits of
  // statistics_type for the token after the last. In pieces of any length the result is that of the whole.
  at::Tensor next_logits(const at::Tensor& tokens, Cache& cache);

  // What the mixers say about themselves (Mixer::read) on `tokens`: of each layer a list.
  std::vector<std::vector<Reading>> read(const at::Tensor& tokens);

 private:
  at::Tensor final_hidden(const at::Tensor& tokens, std::vector<at::Tensor>* hidden,
                          Pass pass);                    // after the final norm, (B T, d_model)
  at::Tensor to_logits(const at::Tensor& hidden) const;  // (N, d_model) -> (N, vocab_size)

  ModelConfig config_;
  common::Precision precision_;
  common::Parameter embedding_;
  std::vector<std::unique_ptr<Layer>> layers_;
  common::Parameter final_norm_;
  int64_t num_recomputed_ = 0;
};

}  // namespace sisa::model
