// Causal softmax attention, whose score a system may augment.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/mixers/attention_cache.h"
#include "model/mixers/mixer.h"
#include "model/operations/attention_shape.h"
#include "model/operations/augmentation.h"
#include "model/operations/fused.h"
#include "model/operations/rope.h"
#include "model/system.h"

namespace sisa::model {

// Further channels of query and key, which add to the score. A system that has them implements all of this, so
// that training, evaluation and decoding cannot compute different things.
class ScoreAugmentation {
 public:
  virtual ~ScoreAugmentation() = default;
  // For training: of whole sequences x (B, T, d_model). Their type is the one that attention then computes in.
  virtual Augmentation augment(const at::Tensor& x) = 0;
  // For tokens x that continue the sequences in `cache`, cut into segments (augmentation.h).
  struct Continuation {
    Augmentation channels;
    std::vector<Segment> segments;
  };
  virtual Continuation continue_augmentation(const at::Tensor& x, AttentionCache& cache) = 0;
  // A segment begins whose offset is another: changes what the keys in `cache` add to the exponent of a
  // weight by `change` (B, H) fp64 nats (Segment::rescale).
  virtual void move_offset(AttentionCache& cache, const at::Tensor& change) = 0;
  // What a kernel needs that makes query and key whole and computes the same as `augment`; null: there is no
  // such kernel, and `augment` is what trains.
  virtual const fused::StateChannels* state_channels() { return nullptr; }
  // Told of what a kernel has limited (fused.h); an undefined tensor: nothing.
  virtual void count_limited(const at::Tensor& /*num_limited*/) {}
};

// What attention reads: query (B, T, H, d_head), key (B, T, G, d_head), value (B, T, G, d_value).
struct AttentionHeads {
  at::Tensor query, key, value;
};

// What a system does to heads between the projections and attention, and to attention's output before W_O. No
// kernel does that: a mixer that has it trains by composed operations.
class HeadTransform {
 public:
  virtual ~HeadTransform() = default;
  // Changes the heads that were projected from x (B, T, d_model), of statistics_type but for the value.
  // `states`: where the sequences stand that x continues, to be brought up to date; null: x is whole
  // sequences.
  virtual void before_attention(const at::Tensor& x, AttentionHeads& heads, SequenceStates* states) = 0;
  // Attention's output (B, T, H, d_value) -> the same, of any floating-point type.
  virtual at::Tensor after_attention(const at::Tensor& x, const at::Tensor& output) = 0;
};

// The projections that read the layer's input are blocks of one stored matrix, in this order: W_Q, W_K, W_V,
// then the subclass's.
class AttentionMixer : public Mixer {
 public:
  AttentionMixer(const LayerContext& context, const AttentionShape& shape);
  std::vector<common::Parameter*> parameters() override { return {&projections_, &output_}; }
  at::Tensor forward(const at::Tensor& x) override;
  std::vector<std::string> left_to_libtorch(const at::Tensor& x) override;
  std::unique_ptr<MixerCache> make_cache() const override { return std::make_unique<AttentionCache>(shape_); }
  at::Tensor extend(const at::Tensor& x, MixerCache& cache) override;
  MixerCosts costs(int64_t length) const override;

 protected:
  // Null: the score is that of query and key alone.
  virtual ScoreAugmentation* augmentation() { return nullptr; }
  // Null: heads go to attention as they were projected, and its output to W_O.
  virtual HeadTransform* head_transform() { return nullptr; }

  // The type of what an augmentation computes before it rounds. In fp32 on the CPU, where it costs little,
  // that is fp64, as are the scores then: up to twelve times the size of the gradient of SISA's alpha_bias
  // cancels in it, and fp32 would leave it 3e-5.
  at::ScalarType score_type() const;
  // The type of an augmentation's channels and so of attention. In bf16 on the CPU, too, it is the wider one.
  // The gradients of decay and rotation are small differences of those of query and key: with fast decay,
  // rounding the latter to bf16 leaves SISA's alpha_bias an error of 20 %, seventeen times that of scores in
  // their direct form.
  at::ScalarType augmented_type() const;

  // What an augmentation adds to the costs: channels of query and key over all heads, and the gates of a token
  // that they are made of.
  struct StateSizes {
    double channels = 0, angles = 0, alphas = 0;
  };
  MixerCosts costs(int64_t length, const StateSizes& state) const;

  // Appends a block of N(0, standard_deviation) rows to the stored projections; returns its first row.
  int64_t add_projection(const std::string& name, int64_t num_rows, double standard_deviation);
  // (B, T, num_rows) -> (B, T, num_heads, num_rows / num_heads)
  static at::Tensor split_heads(const at::Tensor& x, int64_t num_heads) {
    return x.unflatten(-1, {num_heads, -1});
  }
  // Rows beyond the last block, so that the stored matrix is a multiple of pad_to. To be called when all
  // blocks are there.
  void pad_projections();

  using Heads = AttentionHeads;
  // Query and key turned by their positions, in statistics_type. first_positions: of each sequence's first
  // token in x; empty: all 0.
  Heads project(const at::Tensor& x, const std::vector<int64_t>& first_positions = {});
  // The projections as kernels of our own read them. Where there is no kernel for the augmentation, or heads
  // are transformed: none, and these kernels do not serve.
  std::optional<fused::HeadProjection> head_projection();

  LayerContext context_;
  AttentionShape shape_;
  common::Parameter projections_;  // (rows, d_model)

 private:
  // Attention's output, before W_O, in whatever way is fastest: (B, T, H d_value).
  at::Tensor mix(const at::Tensor& x);
  // How much of mix(x) kernels of our own take over, given what head_projection() says.
  fused::Service service(const at::Tensor& x, const std::optional<fused::HeadProjection>& projection) const;
  // Widens query and key and rounds all three to the type of attention.
  void finish(Heads& heads, const Augmentation& more) const;

  common::Parameter output_;  // W_O (d_model, H d_value)
  std::optional<Rope> rope_;
};

// What attention costs between the product before it and the one after it: rotary positions and attention
// itself. state_channels: what an augmentation adds to query and to key, over all heads.
MixerCosts attention_costs(const AttentionShape& shape, int64_t length, double state_channels = 0);

// Keys of the systems whose heads are d_model / num_heads wide each, and the geometry that they say.
Key num_heads_key();
Key rope_base_key(double default_value = 10000);
AttentionShape multi_head_shape(const ModelConfig& config, double rope_base);
// Throws ConfigError where d_model does not split into heads, or, as rotary positions need it, into heads of
// an even width.
void validate_head_count(const ModelConfig& config);
void validate_heads(const ModelConfig& config);

}  // namespace sisa::model
