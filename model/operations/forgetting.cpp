#include "model/operations/forgetting.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>

#include <vector>

namespace sisa::model {

int64_t num_bias_channels(at::ScalarType type) {
  return type == at::kBFloat16 ? 3 : 1;
}

at::Tensor bias_channels(const at::Tensor& bias, double scale, at::ScalarType type) {
  const at::Tensor wide = bias / scale;
  // The first channel has the whole gradient; the others are what its rounding leaves, and constant.
  std::vector<at::Tensor> channels = {wide.to(type)};
  at::Tensor rest = wide.detach();
  while (static_cast<int64_t>(channels.size()) < num_bias_channels(type)) {
    rest = rest - channels.back().detach().to(rest.scalar_type());
    channels.push_back(rest.to(type));
  }
  return at::stack(channels, -1);
}

void change_bias(const at::Tensor& channels, const at::Tensor& change, double scale) {
  const at::Tensor bias = channels.to(at::kDouble).sum(-1) * scale + change.unsqueeze(1);
  at::Tensor(channels).copy_(bias_channels(bias, scale, channels.scalar_type()));
}

}  // namespace sisa::model
