#include "launcher/run/learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "model/mixers/mixer.h"

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

namespace {

// What the model counts over the micro-batches of a step. Every rank counts the same things.
class Counters {
 public:
  void add(std::vector<model::Counter> more) {
    if (counters_.empty()) {
      counters_ = std::move(more);
      return;
    }
    TORCH_INTERNAL_ASSERT(counters_.size() == more.size());
    for (size_t i = 0; i < more.size(); ++i) counters_[i].count = counters_[i].count + more[i].count;
  }
  // fp64 holds a count exactly.
  void append_to(std::vector<at::Tensor>& sums) const {
    for (const model::Counter& counter : counters_) sums.push_back(counter.count.to(at::kDouble));
  }
  // totals: of the counters, in order, on the CPU.
  std::vector<CounterTotal> with(const at::Tensor& totals) const {
    std::vector<CounterTotal> result;
    for (size_t i = 0; i < counters_.size(); ++i)
      result.push_back({counters_[i].name, counters_[i].label,
                        static_cast<int64_t>(totals[static_cast<int64_t>(i)].item<double>())});
    return result;
  }

 private:
  std::vector<model::Counter> counters_;
};

}  // namespace

// The first picture of docs/architecture.md, in code.
StepResult Learner::step(const Read& read, int64_t num_samples, int64_t num_tokens, double lr_factor) {
  space_.zero_gradients();
  const at::Tensor loss = at::zeros({}, at::device(options_.device).dtype(at::kDouble));
  Counters counters;
  for (const MicroBatch& part : micro_batches(num_samples)) {
    const data::Batch batch = read(part.first, part.count);
    const at::Tensor inputs = batch.inputs.to(options_.device, /*non_blocking=*/true);
    const at::Tensor loss_sum = model_.loss_sum(inputs, batch.targets);
    loss_sum.backward();
    loss.add_(loss_sum.detach());
    counters.add(model_.take_counters());
  }
  space_.reduce_gradients(*communicator_);
  const auto update = optimizer_.step(*communicator_, 1 / static_cast<double>(num_tokens), lr_factor);
  space_.gather_values(*communicator_);
  std::vector<at::Tensor> parts = {loss};
  counters.append_to(parts);
  const at::Tensor sums = at::stack(parts);
  communicator_->all_reduce(sums);

  const at::Tensor on_host = communicator_->to_host(sums);  // waits for the device
  return {.loss = on_host[0].item<double>() / static_cast<double>(num_tokens),
          .gradient_norm = update.gradient_norm,
          .applied = update.applied,
          .counters = counters.with(on_host.narrow(0, 1, on_host.size(0) - 1))};
}

}  // namespace sisa::launcher
