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
struct Counter;
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
  bool is_empty_ = true;
};

// Which form of the layers computes: what training differentiates, or what evaluation uses. They differ by
// rounding while SISA's decays stay within what the training form resolves; the evaluation form is exact at
// any range (spec 1.5, 1.7).
enum class Pass { evaluation, training };

// Embedding, layers (a pre-norm mixer, then a pre-norm SwiGLU where the layer has one), final norm, head tied to
// the embedding. The parameters hold no memory until a parallel::ParameterSpace binds them.
class LanguageModel {
 public:
  // The config is completed (mixers/registry.h). pad_to: physical rows and widths of stored matrices are rounded
  // up to this multiple with zeros (tensor cores want 64). Throws ConfigError if it makes no network.
  LanguageModel(const ModelConfig& config, common::Precision precision, int64_t pad_to = 8);
  LanguageModel(const LanguageModel&) = delete;
  LanguageModel& operator=(const LanguageModel&) = delete;
  ~LanguageModel();

  const ModelConfig& config() const { return config_; }
  // In the order embedding, what stands before every sequence if the system has that, layers, final norm.
  std::vector<common::Parameter*> parameters();
  const std::vector<std::unique_ptr<Layer>>& layers() const { return layers_; }
  int64_t num_prefix() const { return prefix_.rows; }  // vectors that stand before every sequence

  // From now on loss_sum keeps no activations of the first n layers for the backward pass, which computes
  // them again: less memory, more time, the same gradients. 0 <= n <= num_layers.
  void set_recomputed_layers(int64_t n);

  // Sum over all predicted tokens of the cross entropy, a scalar of statistics_type with its graph;
  // `backward()`, called on just that, adds to the parameters' gradients (where operations/fused.h serves, the head's
  // are added by this call already). tokens, targets: (B, T) int64, ids in [0, vocab_size). Targets may lie
  // on the CPU, wherever the model is; then they may be negative, where nothing is predicted. The whole
  // logits are never held at once.
  at::Tensor loss_sum(const at::Tensor& tokens, const at::Tensor& targets);
  // What loss_sum leaves to LibTorch's operations, since kernels of our own (operations/fused.h) do not fit the
  // sizes, the precision or the device: "norms", what Mixer::left_to_libtorch names, "cross entropy". For people.
  std::vector<std::string> left_to_libtorch();
  // What the mixers have counted in loss_sum since the last call, summed over layers; recomputed layers count in
  // backward(). Empty where nothing was counted.
  std::vector<Counter> take_counters();

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
  // The stream that enters the first layer: the tokens' embeddings (B, T, d_model), behind what the system puts
  // before every sequence if these tokens begin their sequences.
  at::Tensor enter(const at::Tensor& tokens, bool begins);
  // The last T tokens' part of a stream.
  static at::Tensor last_tokens(const at::Tensor& x, int64_t T) { return x.narrow(1, x.size(1) - T, T); }
  // After the final norm, (B T, d_model). With `hidden`, see logits.
  at::Tensor final_hidden(const at::Tensor& tokens, std::vector<at::Tensor>* hidden, Pass pass);
  at::Tensor to_logits(const at::Tensor& hidden) const;  // (N, d_model) -> (N, vocab_size)

  ModelConfig config_;
  common::Precision precision_;
  common::Parameter embedding_;
  common::Parameter prefix_;  // (number, d_model); without rows: none
  std::vector<std::unique_ptr<Layer>> layers_;
  common::Parameter final_norm_;
  int64_t num_recomputed_ = 0;
};

}  // namespace sisa::model
