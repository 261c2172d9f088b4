// A model that learns on the ranks of a world: the arithmetic of a training step, without recipe files,
// display or checkpoints.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "common/precision.h"
#include "data/loader.h"
#include "launcher/run/counter_total.h"
#include "model/language_model.h"
#include "parallel/adamw.h"
#include "parallel/communicator.h"
#include "parallel/parameter_space.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct LearnerOptions {
  common::Precision precision = common::Precision::fp32;
  at::Device device = at::kCPU;
  int64_t pad_to = 8;       // physical rows and widths of stored matrices are multiples of this
  bool sharded = true;      // each rank holds its slice of masters and moments; false: it holds all of them
  int64_t micro_batch = 4;  // samples that a rank runs at once, at most
  int64_t recompute = 0;  // so many layers, the first ones, compute activations again instead of keeping them
  parallel::AdamWOptions optimizer;
};

struct StepResult {
  double loss = 0;           // nats a predicted token, the mean over the whole batch before the update
  double gradient_norm = 0;  // before clipping
  bool applied = true;       // false: the gradient was not finite, and nothing was updated
  std::vector<CounterTotal> counters;  // what the model counted (LanguageModel::take_counters)
};

class Learner {
 public:
  // Allocates everything. The weights are zero until `space().initialise` or a checkpoint fills them.
  // Collective.
  Learner(const model::ModelConfig& config, const LearnerOptions& options, const parallel::World& world);

  // This rank's part of a batch of num_samples samples, in order, cut into what it runs at once: each is the
  // samples [first, first + count) of the batch.
  struct MicroBatch {
    int64_t first, count;
  };
  std::vector<MicroBatch> micro_batches(int64_t num_samples) const;

  // Gives the samples [first, first + count) of the step's batch, on the CPU.
  using Read = std::function<data::Batch(int64_t first, int64_t count)>;
  // One update from a batch of num_samples samples (at least as many as there are ranks), in which num_tokens
  // tokens are predicted. Rank r of n reads the samples [r num_samples / n, (r + 1) num_samples / n), as its
  // micro_batches in order. lr_factor multiplies the learning rate. Collective; the result is equal on all
  // ranks.
  StepResult step(const Read& read, int64_t num_samples, int64_t num_tokens, double lr_factor);

  model::LanguageModel& model() { return model_; }
  parallel::ParameterSpace& space() { return space_; }
  const parallel::ParameterSpace& space() const { return space_; }
  parallel::Communicator& communicator() { return *communicator_; }
  parallel::AdamW& optimizer() { return optimizer_; }
  const parallel::AdamW& optimizer() const { return optimizer_; }

 private:
  LearnerOptions options_;
  const parallel::World& world_;
  model::LanguageModel model_;
  parallel::ParameterSpace space_;
  std::unique_ptr<parallel::Communicator> communicator_;
  parallel::AdamW optimizer_;
};

}  // namespace sisa::launcher
