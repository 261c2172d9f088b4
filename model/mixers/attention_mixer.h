// Causal softmax attention with rotary positions, whose query and key a system may widen.
#pragma once

#include <memory>
#include <vector>

#include "model/mixers/attention_cache.h"
#include "model/mixers/mixer.h"
#include "model/operations/augmentation.h"
#include "model/operations/fused.h"
#include "model/operations/rope.h"

namespace sisa::model {

// The projections that read the layer's input are blocks of one stored matrix, in this order: W_Q, W_K, W_V,
// then the subclass's.
class AttentionMixer : public Mixer {
 public:
  explicit AttentionMixer(const LayerContext& context);
  std::vector<common::Parameter*> parameters() override { return {&projections_, &output_}; }
  at::Tensor forward(const at::Tensor& x) override;
  std::vector<std::string> left_to_libtorch(const at::Tensor& x) override;
  std::unique_ptr<MixerCache> make_cache() const override { return std::make_unique<AttentionCache>(); }
  at::Tensor extend(const at::Tensor& x, MixerCache& cache) override;

 protected:
  // Further channels of query and key; their type is the one that attention then computes in.
  virtual Augmentation augment(const at::Tensor& /*x*/) { return {}; }
  // The same where one kernel makes query and key whole (model/operations/fused.h): what it needs; null: no channels.
  virtual const fused::StateChannels* state_channels() { return nullptr; }
  fused::Projection fused_rows();
  virtual void count_limited(const at::Tensor& /*num_limited*/) {}
  // The same for tokens that continue the sequences in `cache`, cut into segments (see augmentation.h).
  struct Continuation {
    Augmentation channels;
    std::vector<Segment> segments;
  };
  virtual Continuation continue_augmentation(const at::Tensor& x, AttentionCache& /*cache*/) {
    return {{}, {{0, x.size(1), {}}}};
  }

  // Appends a block of N(0, standard_deviation) rows to the stored projections; returns its first row.
  int64_t add_projection(const std::string& name, int64_t num_rows, double standard_deviation);
  // (B, T, num_rows) -> (B, T, H, num_rows / H)
  at::Tensor split_heads(const at::Tensor& x) const {
    return x.unflatten(-1, {context_.config.num_heads, -1});
  }
  // Rows beyond the last block, so that the stored matrix is a multiple of pad_to. To be called when all
  // blocks are there.
  void pad_projections();

  // (B, T, H, d_head) each; query and key turned by their positions, in statistics_type.
  struct Heads {
    at::Tensor query, key, value;
  };
  // first_positions: of each sequence's first token in x; empty: all 0.
  Heads project(const at::Tensor& x, const std::vector<int64_t>& first_positions = {});

  LayerContext context_;
  common::Parameter projections_;  // (rows, d_model)

 private:
  // Attention's output, before W_O, in whatever way is fastest: (B, T, d_model).
  at::Tensor mix(const at::Tensor& x);
  // Widens query and key and rounds all three to the type of attention.
  void finish(Heads& heads, const Augmentation& more) const;
  double scale() const;

  common::Parameter output_;  // W_O (d_model, d_model)
  Rope rope_;
};

}  // namespace sisa::model
