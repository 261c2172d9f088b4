#include "launcher/run/learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace sisa::launcher {

Learner::Learner(const model::ModelConfig& config, const LearnerOptions& options,
                 const parallel::World& world)
    : options_(options),
      world_(world),
      model_(config, options.precision, options.pad_to),
      space_(model_.parameters(), {options.precision, options.device, /*training=*/true, options.sharded},
             world.rank(), world.size()),
      communicator_(parallel::make_communicator(world, options.device)),
      optimizer_(space_, options.optimizer) {
  model_.set_recomputed_layers(options.recompute);
}

std::vector<Learner::MicroBatch> Learner::micro_batches(int64_t num_samples) const {
  std::vector<MicroBatch> result;
  const auto [begin, end] = world_.share(num_samples);
  for (int64_t first = begin; first < end; first += options_.micro_batch)
    result.push_back({first, std::min(options_.micro_batch, end - first)});
  return result;
}

// The picture of docs/architecture.md, in code.
StepResult Learner::step(const Read& read, int64_t num_samples, int64_t num_tokens, double lr_factor) {
  space_.zero_gradients();
  // Over this rank's samples: of the loss, of the limited pairs. fp64 holds a count exactly.
  const at::Tensor sums = at::zeros({2}, at::device(options_.device).dtype(at::kDouble));
  const at::Tensor loss = sums[0], num_limited = sums[1];
  bool limits = false;
  for (const MicroBatch& part : micro_batches(num_samples)) {
    const data::Batch batch = read(part.first, part.count);
    const at::Tensor inputs = batch.inputs.to(options_.device, /*non_blocking=*/true);
    const at::Tensor loss_sum = model_.loss_sum(inputs, batch.targets);
    loss_sum.backward();
    loss.add_(loss_sum.detach());
    if (const at::Tensor count = model_.take_num_limited(); count.defined()) {
      num_limited.add_(count);
      limits = true;
    }
  }
  space_.reduce_gradients(*communicator_);
  const auto update = optimizer_.step(*communicator_, 1 / static_cast<double>(num_tokens), lr_factor);
  space_.gather_values(*communicator_);
  communicator_->all_reduce(sums);

  const at::Tensor on_host = sums.to(at::kCPU);  // waits for the device
  StepResult result{.loss = on_host[0].item<double>() / static_cast<double>(num_tokens),
                    .gradient_norm = update.gradient_norm,
                    .applied = update.applied};
  if (limits) result.num_limited = static_cast<int64_t>(on_host[1].item<double>());
  return result;
}

}  // namespace sisa::launcher
