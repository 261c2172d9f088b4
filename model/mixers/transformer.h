// Softmax attention with rotary positions (spec section 2), and what the mixers that augment its score share
// with it.
#pragma once

#include <memory>

#include "model/mixers/mixer.h"
#include "model/rope.h"

namespace sisa::model {

void validate_transformer(const ModelConfig& config);
std::unique_ptr<Mixer> make_transformer(const LayerContext& context);

// Attention whose query and key a subclass may widen. The projections that read the layer's input are blocks
// of one stored matrix, in this order: W_Q, W_K, W_V, then the subclass's.
class AttentionMixer : public Mixer {
 public:
  explicit AttentionMixer(const LayerContext& context);
  std::vector<common::Parameter*> parameters() override { return {&projections_, &output_}; }
  at::Tensor forward(const at::Tensor& x) override;

 protected:
  struct Augmentation {
    at::Tensor query, key;  // further channels (B, T, H, ·) in statistics_type; undefined: none
  };
  virtual Augmentation augment(const at::Tensor& /*x*/) { return {}; }

  // Appends a block of N(0, standard_deviation) rows to the stored projections; returns its first row.
  int64_t add_projection(const std::string& name, int64_t num_rows, double standard_deviation);
  // (B, T, num_rows) -> (B, T, H, num_rows / H)
  at::Tensor split_heads(const at::Tensor& x) const {
    return x.unflatten(-1, {context_.config.num_heads, -1});
  }
  // Rows beyond the last block, so that the stored matrix is a multiple of pad_to. To be called when all
  // blocks are there.
  void pad_projections();

  LayerContext context_;
  common::Parameter projections_;  // (rows, d_model)

 private:
  common::Parameter output_;  // W_O (d_model, d_model)
  Rope rope_;
};

}  // namespace sisa::model
