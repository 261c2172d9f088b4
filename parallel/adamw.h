// AdamW over the owned slices of a ParameterSpace, with clipping by the global norm.
#pragma once

#include <cstdint>

#include "parallel/communicator.h"
#include "parallel/parameter_space.h"

namespace sisa::parallel {

enum class WeightDecayOn { all, matrices };

struct AdamWOptions {
  double learning_rate = 6e-4;
  double lambda_lr = 6e-5;  // of Group::lambda, which never decays (spec section 0)
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double weight_decay = 0.1;
  WeightDecayOn weight_decay_on = WeightDecayOn::matrices;
  double clip = 1.0;           // largest global gradient norm; 0: no clipping
  double clip_epsilon = 1e-6;  // factor = min(1, clip / (norm + clip_epsilon)), as the published code's
};

class AdamW {
 public:
  AdamW(ParameterSpace& space, const AdamWOptions& options);

  struct Result {
    double gradient_norm;  // before clipping, of gradients * gradient_scale
    bool applied;  // false: the norm was not finite, and parameters, moments and updates() are as before
  };
  // Multiplies the reduced gradients by gradient_scale (1 / tokens), clips, updates owned slices and rounds
  // them into values. lr_factor: the schedule's, 0 to 1; multiplies learning_rate and lambda_lr. theta <-
  // theta (1 - lr wd) - lr m_hat / (sqrt(v_hat) + epsilon); m_hat, v_hat bias-corrected with t = updates()
  // after this one. Collective. The caller gathers the values afterwards.
  Result step(Communicator& communicator, double gradient_scale, double lr_factor);

  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }  // on resume

 private:
  ParameterSpace& space_;
  AdamWOptions options_;
  int64_t updates_ = 0;
};

}  // namespace sisa::parallel
