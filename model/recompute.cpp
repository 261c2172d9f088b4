#include "model/recompute.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <optional>

#include "model/operations/autograd.h"

namespace sisa::model {
namespace {

struct Recomputed : torch::autograd::Function<Recomputed> {
  // Runs without a graph, as all functions of autograd do.
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const std::optional<at::Tensor>& delta, Layer* layer) {
    const Stream out = layer->forward({x, delta.value_or(at::Tensor())});
    context->set_materialize_grads(false);
    context->save_for_backward({x, delta.value_or(at::Tensor())});
    context->saved_data["layer"] = reinterpret_cast<int64_t>(layer);
    return {out.x, out.delta};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    auto* layer = reinterpret_cast<Layer*>(context->saved_data["layer"].toInt());
    const variable_list saved = context->get_saved_variables();
    const auto leaf = [](const at::Tensor& x) { return x.defined() ? x.detach().requires_grad_() : x; };
    const Stream in{leaf(saved[0]), leaf(saved[1])};
    variable_list outputs, of_outputs;
    {
      const at::AutoGradMode with_graph(true);
      const Stream out = layer->forward(in);
      for (const auto& [output, gradient] :
           {std::pair(out.x, gradients[0]), std::pair(out.delta, gradients[1])}) {
        if (!output.defined() || !gradient.defined()) continue;
        outputs.push_back(output);
        of_outputs.push_back(gradient);
      }
    }
    // This differentiates everything and not the inputs alone: nodes that no input needs add parameters' gradients.
    torch::autograd::backward(outputs, of_outputs);
    return {in.x.grad(), in.delta.defined() ? in.delta.grad() : at::Tensor(), {}};
  }
};

}  // namespace

Stream recomputed(Layer& layer, const Stream& stream) {
  const std::optional<at::Tensor> delta = stream.delta.defined() ? std::optional(stream.delta) : std::nullopt;
  const variable_list outputs = Recomputed::apply(stream.x, delta, &layer);
  return {outputs[0], outputs[1]};
}

}  // namespace sisa::model
