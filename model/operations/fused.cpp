#include "model/operations/fused.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <atomic>

#include "model/operations/fused_tensors.h"
#include "model/operations/products.h"

namespace sisa::model::fused {
namespace {

std::atomic<bool> enabled = true;

struct AddRmsNorm : torch::autograd::Function<AddRmsNorm> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const Maybe& maybe_delta,
                               int64_t parameter, double epsilon) {
    const Parameter& p = *reinterpret_cast<Parameter*>(parameter);
    const at::Tensor delta = maybe_delta.value_or(at::Tensor());
    const bool adds = delta.defined();
    const at::Tensor in = x.contiguous();
    const at::Tensor sum = adds ? at::empty_like(in) : in, normed = at::empty_like(in);
    const int64_t rows = x.numel() / p.rows;
    const at::Tensor scales = like(x, {rows}, at::kFloat);
    kernels::rms_norm(bits(in), bits(contiguous(delta)), data_of<float>(p.value.detach().to(at::kFloat)),
                      static_cast<float>(epsilon), rows, p.rows, adds ? mutable_bits(sum) : nullptr,
                      mutable_bits(normed), data_of<float>(scales), stream());
    context->set_materialize_grads(false);
    context->saved_data["parameter"] = parameter;
    context->saved_data["adds"] = adds;
    context->save_for_backward({sum, scales});
    return {adds ? sum : x, normed};
  }
  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const Parameter& p = parameter_of(context);
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& sum = saved[0];
    if (!outputs[1].defined()) return {outputs[0], outputs[0], {}, {}};
    const at::Tensor gradient = at::empty_like(sum),
                     partial_sums = like(sum, {kernels::norm_partial_sums(p.rows)}, at::kFloat);
    kernels::rms_norm_backward(
        bits(sum), data_of<float>(saved[1]), data_of<float>(p.value.detach().to(at::kFloat)),
        bits(contiguous(outputs[0])), bits(outputs[1].contiguous()), sum.numel() / p.rows, p.rows,
        mutable_bits(gradient), data_of<float>(p.gradient), data_of<float>(partial_sums), stream());
    const bool adds = context->saved_data["adds"].toBool();
    return {gradient, adds ? gradient : at::Tensor(), {}, {}};
  }
};

struct Swiglu : torch::autograd::Function<Swiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate_up) {
    context->save_for_backward({gate_up});
    std::vector<int64_t> shape = gate_up.sizes().vec();
    shape.back() /= 2;
    const at::Tensor output = like(gate_up, shape, at::kBFloat16);
    kernels::swiglu(bits(gate_up), output.numel() / shape.back(), shape.back(), mutable_bits(output),
                    stream());
    return output;
  }
  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const at::Tensor gate_up = context->get_saved_variables()[0], gradient = at::empty_like(gate_up);
    const int64_t columns = gate_up.size(-1) / 2;
    kernels::swiglu_backward(bits(gate_up), bits(outputs[0].contiguous()), gate_up.numel() / (2 * columns),
                             columns, mutable_bits(gradient), stream());
    return {gradient};
  }
};

struct CrossEntropySum : torch::autograd::Function<CrossEntropySum> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& value,
                            int64_t parameter, int64_t vocab_size, const at::Tensor& targets) {
    const Parameter& p = *reinterpret_cast<Parameter*>(parameter);
    const at::Tensor weight = value.detach(), losses = like(hidden, {hidden.size(0)}, at::kFloat),
                     hidden_gradient = at::empty_like(hidden);
    const int64_t part = std::min(logits_rows, hidden.size(0));
    const at::Tensor part_logits = like(hidden, {part, weight.size(0)}, at::kBFloat16);
    for (int64_t row = 0; row < hidden.size(0); row += part) {
      const int64_t count = std::min(part, hidden.size(0) - row);
      const at::Tensor h = hidden.narrow(0, row, count);
      at::Tensor logits = part_logits.narrow(0, 0, count);
      at::mm_out(logits, h, weight.t());
      kernels::cross_entropy(mutable_bits(logits), targets.const_data_ptr<int64_t>() + row, count,
                             weight.size(0), vocab_size, data_of<float>(losses) + row, stream());
      const at::Tensor& gradients = logits;  // overwritten
      add_outer_product(p.gradient, gradients, h);
      at::Tensor out = hidden_gradient.narrow(0, row, count);
      at::mm_out(out, gradients, weight);
    }
    context->save_for_backward({hidden_gradient});
    return losses.sum();
  }
  static variable_list backward(AutogradContext* context, const variable_list&) {
    return {context->get_saved_variables()[0], {}, {}, {}, {}};
  }
};

}  // namespace

void set_enabled(bool value) {
  enabled = value;
}

bool usable(const at::Tensor& x, const at::Tensor& gradient) {
  return enabled && x.is_cuda() && x.scalar_type() == at::kBFloat16 &&
         (!gradient.defined() || gradient.scalar_type() == at::kFloat);
}
bool norm_usable(const at::Tensor& x, const Parameter& weight) {
  return usable(x, weight.gradient) && kernels::norm_fits(weight.rows);
}
bool cross_entropy_usable(const at::Tensor& hidden, const Parameter& matrix) {
  return usable(hidden, matrix.gradient) && matrix.gradient.defined() && at::GradMode::is_enabled() &&
         matrix.rows % 8 == 0 && matrix.rows <= kernels::most_logits;
}

Normed add_rms_norm(const at::Tensor& x, const at::Tensor& delta, Parameter& weight, double epsilon) {
  const variable_list outputs = AddRmsNorm::apply(x, maybe(delta), handle(weight), epsilon);
  return {outputs[0], outputs[1]};
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  return Swiglu::apply(gate_up);
}

at::Tensor cross_entropy_sum(const at::Tensor& hidden, Parameter& matrix, int64_t vocab_size,
                             const at::Tensor& targets) {
  return CrossEntropySum::apply(hidden, matrix.value, handle(matrix), vocab_size, targets);
}

}  // namespace sisa::model::fused
