#include "parallel/adamw.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>  // the current stream, also in builds without CUDA
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

#include "common/parameter.h"
#include "parallel/adamw_kernels.h"

namespace sisa::parallel {
namespace {

Number number(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return Number::fp64;
    case at::kFloat:
      return Number::fp32;
    case at::kBFloat16:
      return Number::bf16;
    default:
      TORCH_INTERNAL_ASSERT(false, "no precision mode has ", type);
  }
}

// The device's current stream as a cudaStream_t.
void* current_stream(const at::Device& device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  return guard.getStreamNativeHandle(guard.getStream(device));
}

// The sum of squares of this rank's owned gradients: a scalar in fp64, on their device.
at::Tensor sum_of_squares(const ParameterSpace& space) {
  const auto& ranges = space.ranges();
  const auto num_ranges = static_cast<int64_t>(ranges.size());
  const at::Device device = space.options().device;
  if (device.is_cuda()) {
    const at::Tensor sums = at::empty({num_ranges, num_partial_sums}, at::device(device).dtype(at::kDouble));
    for (int64_t i = 0; i < num_ranges; ++i) {
      const at::Tensor owned = ranges[i].owned(ranges[i].gradients);
      sum_of_squares_cuda(number(owned.scalar_type()), owned.data_ptr(), owned.numel(),
                          sums[i].data_ptr<double>(), current_stream(device));
    }
    return sums.sum();
  }
  const at::Tensor sum = at::zeros({}, at::kDouble);
  for (const FlatRange& range : ranges) {
    const at::Tensor owned = range.owned(range.gradients);
    *sum.data_ptr<double>() +=
        sum_of_squares_cpu(number(owned.scalar_type()), owned.data_ptr(), owned.numel());
  }
  return sum;
}

void update(const FlatRange& range, const AdamWStep<double>& step) {
  const at::Tensor gradients = range.owned(range.gradients), values = range.owned(range.values);
  const AdamWSlice slice{.state = number(gradients.scalar_type()),
                         .value = number(values.scalar_type()),
                         .size = values.numel(),
                         .gradients = gradients.data_ptr(),
                         .moment1 = range.moment1.data_ptr(),
                         .moment2 = range.moment2.data_ptr(),
                         .masters = range.masters.data_ptr(),
                         .values = values.data_ptr()};
  if (values.is_cuda())
    adamw_update_cuda(slice, step, current_stream(values.device()));
  else
    adamw_update_cpu(slice, step);
}

}  // namespace

AdamW::AdamW(ParameterSpace& space, const AdamWOptions& options) : space_(space), options_(options) {
  TORCH_INTERNAL_ASSERT(space.options().training);
}

AdamW::Result AdamW::step(Communicator& communicator, double gradient_scale, double lr_factor) {
  const c10::DeviceGuard guard(space_.options().device);
  const at::Tensor sum = sum_of_squares(space_);
  if (space_.options().sharded) communicator.all_reduce(sum);
  const double norm = gradient_scale * std::sqrt(communicator.to_host(sum).item<double>());
  if (!std::isfinite(norm)) return {norm, false};
  const double clipping =
      options_.clip > 0 ? std::min(1.0, options_.clip / (norm + options_.clip_epsilon)) : 1.0;

  ++updates_;
  const auto t = static_cast<double>(updates_);
  for (const FlatRange& range : space_.ranges()) {
    const common::ParameterTraits& traits = range.traits;
    const double learning_rate = lr_factor * (options_.learning_rate * traits.lr_scale);
    const bool decays = !traits.never_decays && (traits.kind == common::ParameterKind::matrix ||
                                                 options_.weight_decay_on == WeightDecayOn::all);
    update(range, {.gradient_factor = gradient_scale * clipping,
                   .beta1 = options_.beta1,
                   .beta2 = options_.beta2,
                   .bias_correction1 = 1 - std::pow(options_.beta1, t),
                   .bias_correction2 = 1 - std::pow(options_.beta2, t),
                   .learning_rate = learning_rate,
                   .decay = 1 - learning_rate * (decays ? options_.weight_decay : 0.0),
                   .epsilon = options_.epsilon});
  }
  return {norm, true};
}

}  // namespace sisa::parallel
