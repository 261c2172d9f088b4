// Mamba-2 (spec section 4): a state-space layer whose decays depend on the tokens. The hybrids have it too.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "model/mixers/mixer.h"
#include "model/mixers/sequence_states.h"
#include "model/system.h"

namespace sisa::model {

// What stands between the projections: from z, x, B, C and dt to the gated output of the state-space
// recurrence. In the names of its parameters `prefix` comes first.
class Mamba2Core {
 public:
  Mamba2Core(const LayerContext& context, const std::string& prefix);
  std::vector<common::Parameter*> parameters() {
    return {&convolution_, &convolution_bias_, &dt_bias_, &A_log_, &D_};
  }
  // Rows of a projection to [z x B C dt]: d_inner, d_inner, d_state, d_state and one for each head.
  int64_t projected() const { return 2 * d_inner_ + 2 * d_state_ + num_heads_; }
  int64_t d_inner() const { return d_inner_; }

  // y silu(z), (B, T, d_inner) of statistics_type, of x (B, T, d_model) projected by the rows of
  // `projections` from `first_row` on. `states`: where the sequences stand that x continues, to be brought up
  // to date; null: x is whole sequences.
  at::Tensor operator()(const at::Tensor& x, common::Parameter& projections, int64_t first_row,
                        SequenceStates* states);
  std::vector<Reading> read(const at::Tensor& x, common::Parameter& projections, int64_t first_row);

  // Without the projections.
  MixerCosts costs(int64_t length) const;

 private:
  at::Tensor time_steps(const at::Tensor& x, common::Parameter& projections, int64_t first_row);  // (B, T, h)

  at::ScalarType compute_, statistics_;
  int64_t d_inner_, d_state_, head_dim_, num_heads_, chunk_length_;
  common::Parameter convolution_;          // (d_inner + 2 d_state, 4)
  common::Parameter convolution_bias_;     // (d_inner + 2 d_state)
  common::Parameter dt_bias_, A_log_, D_;  // (h)
};

class Mamba2 : public Mixer {
 public:
  Mamba2(const LayerContext& context, const std::string& prefix);
  explicit Mamba2(const LayerContext& context) : Mamba2(context, context.prefix + "mamba.") {}
  std::vector<common::Parameter*> parameters() override;
  std::string norm_name() const override { return "norm"; }
  at::Tensor forward(const at::Tensor& x) override { return mix(x, nullptr); }
  std::vector<std::string> left_to_libtorch(const at::Tensor&) override { return {"state space"}; }
  std::unique_ptr<MixerCache> make_cache() const override { return std::make_unique<StateCache>(); }
  at::Tensor extend(const at::Tensor& x, MixerCache& cache) override {
    return mix(x, &dynamic_cast<StateCache&>(cache).states);
  }
  MixerCosts costs(int64_t length) const override;
  std::vector<Reading> read(const at::Tensor& x) override { return core_.read(x, in_, 0); }

  // `states`: as Mamba2Core has it.
  at::Tensor mix(const at::Tensor& x, SequenceStates* states);

 private:
  at::ScalarType statistics_;
  Mamba2Core core_;
  common::Parameter in_;    // (projected, d_model)
  common::Parameter norm_;  // (d_inner)
  common::Parameter out_;   // (d_model, d_inner)
};

// The keys of Mamba-2's layers, for systems that have some.
std::vector<Key> mamba2_keys(const std::string& projection_init);
inline constexpr const char* mamba2_readings = "half-life of states and mean time step";

System mamba2_system();

}  // namespace sisa::model
