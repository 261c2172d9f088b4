// AdamW over the owned slices of a ParameterSpace, with clipping by the global norm.
#pragma once

#include <cstdint>

#include "parallel/communicator.h"
#include "parallel/parameter_space.h"

namespace sisa::parallel {

// Which parameters decay, except those with ParameterTraits::never_decays.
enum class WeightDecayOn { all, matrices };

struct AdamWOptions {
  double learning_rate = 6e-4;  // times ParameterTraits::lr_scale
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double weight_decay = 0.1;
  WeightDecayOn weight_decay_on = WeightDecayOn::matrices;
  double clip = 1.0;           // the largest global gradient norm; 0: no clipping
  double clip_epsilon = 1e-6;  // the factor is min(1, clip / (norm + clip_epsilon)), as in the published code
};

class AdamW {
 public:
  AdamW(ParameterSpace& space, const AdamWOptions& options);

  struct Result {
    double gradient_norm;  // of gradients * gradient_scale, before clipping
    bool applied;          // false: the norm was not finite; parameters, moments and updates() are as before
  };
  // Multiplies the reduced gradients by gradient_scale (1 / tokens), clips them, updates the owned slices and
  // rounds them into the values:
  //   theta <- theta (1 - lr weight_decay) - lr m_hat / (sqrt(v_hat) + epsilon).
  // Here lr = lr_factor * learning_rate * lr_scale, with the schedule's lr_factor, 0 to 1, and the lr_scale
  // of the parameter's traits. m_hat and v_hat are bias-corrected with t = updates() after this update.
  // Collective, and waits for the device. The caller gathers the values afterwards.
  Result step(Communicator& communicator, double gradient_scale, double lr_factor);

  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }  // when a run is resumed

 private:
  ParameterSpace& space_;
  AdamWOptions options_;
  int64_t updates_ = 0;
};

}  // namespace sisa::parallel
