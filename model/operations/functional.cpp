#include "model/operations/functional.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "model/operations/autograd.h"
#include "model/operations/fused.h"
#include "model/operations/products.h"

namespace sisa::model {
namespace {

using common::Parameter;

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& value,
                            int64_t parameter, int64_t first_row, int64_t num_rows, int64_t out_type) {
    context->saved_data["parameter"] = parameter;
    context->saved_data["first_row"] = first_row;
    context->save_for_backward({x});
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = num_rows;
    return matmul_to(as_rows(x), value.narrow(0, first_row, num_rows).t(),
                     static_cast<at::ScalarType>(out_type))
        .view(shape);
  }
  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    Parameter& p = parameter_of(context);
    const at::Tensor x = context->get_saved_variables()[0];
    const at::Tensor output = as_rows(outputs[0]);
    const int64_t first_row = context->saved_data["first_row"].toInt();
    add_outer_product(p.gradient.narrow(0, first_row, output.size(1)), output, as_rows(x));
    const at::Tensor weight = p.value.detach().narrow(0, first_row, output.size(1));
    return {output.to(x.scalar_type()).mm(weight).view(x.sizes()), {}, {}, {}, {}, {}};
  }
};

struct Embedding : torch::autograd::Function<Embedding> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& ids, const at::Tensor& value,
                            int64_t parameter) {
    context->saved_data["parameter"] = parameter;
    context->save_for_backward({ids});
    return value.index_select(0, ids.reshape(-1)).view({ids.size(0), ids.size(1), value.size(1)});
  }
  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    Parameter& p = parameter_of(context);
    const at::Tensor ids = context->get_saved_variables()[0];
    p.gradient.index_add_(0, ids.reshape(-1), as_rows(outputs[0]).to(p.gradient.scalar_type()));
    return {{}, {}, {}};
  }
};

struct Use : torch::autograd::Function<Use> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& value, int64_t parameter,
                            int64_t type) {
    context->saved_data["parameter"] = parameter;
    return value.to(static_cast<at::ScalarType>(type), /*non_blocking=*/false, /*copy=*/true);
  }
  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    Parameter& p = parameter_of(context);
    p.gradient.add_(outputs[0].to(p.gradient.scalar_type()));
    return {{}, {}, {}};
  }
};

// Logits are made for this many rows at a time: up to 256 MiB of fp32.
int64_t rows_per_part(int64_t columns) {
  return std::clamp<int64_t>((int64_t{1} << 26) / columns, 64, 16384);
}

// Logits (n, physical rows) of some rows of `hidden`; those of padding are -inf, so that they take no part in
// a softmax.
at::Tensor part_logits(const at::Tensor& hidden, const at::Tensor& weight, int64_t vocab_size,
                       at::ScalarType statistics) {
  at::Tensor logits = matmul_to(hidden, weight.t(), statistics);
  if (vocab_size < logits.size(1))
    logits.narrow(1, vocab_size, logits.size(1) - vocab_size).fill_(-std::numeric_limits<double>::infinity());
  return logits;
}

struct CrossEntropySum : torch::autograd::Function<CrossEntropySum> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& value,
                            int64_t parameter, int64_t vocab_size, const at::Tensor& targets,
                            int64_t statistics) {
    const auto type = static_cast<at::ScalarType>(statistics);
    context->saved_data["parameter"] = parameter;
    context->saved_data["vocab_size"] = vocab_size;
    const int64_t part = rows_per_part(value.size(0));
    at::Tensor normalisers = at::empty({hidden.size(0)}, hidden.options().dtype(type));
    at::Tensor sum = at::zeros({}, normalisers.options());
    for (int64_t row = 0; row < hidden.size(0); row += part) {
      const int64_t count = std::min(part, hidden.size(0) - row);
      const at::Tensor logits = part_logits(hidden.narrow(0, row, count), value, vocab_size, type);
      const at::Tensor normaliser = logits.logsumexp(1);
      normalisers.narrow(0, row, count).copy_(normaliser);
      sum += (normaliser - logits.gather(1, targets.narrow(0, row, count).unsqueeze(1)).squeeze(1)).sum();
    }
    context->save_for_backward({hidden, targets, normalisers});
    return sum;
  }
  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    Parameter& p = parameter_of(context);
    const int64_t vocab_size = context->saved_data["vocab_size"].toInt();
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &hidden = saved[0], &targets = saved[1], &normalisers = saved[2];
    const at::Tensor weight = p.value.detach();
    const int64_t part = rows_per_part(weight.size(0));
    const at::Tensor hidden_gradient = at::empty_like(hidden);
    for (int64_t row = 0; row < hidden.size(0); row += part) {
      const int64_t count = std::min(part, hidden.size(0) - row);
      const at::Tensor h = hidden.narrow(0, row, count);
      // softmax - onehot(target), times the gradient of the sum
      at::Tensor logits = part_logits(h, weight, vocab_size, normalisers.scalar_type());
      logits.sub_(normalisers.narrow(0, row, count).unsqueeze(1)).exp_();
      const at::Tensor target = targets.narrow(0, row, count).unsqueeze(1);
      logits.scatter_add_(1, target, at::full_like(target, -1, logits.scalar_type()));
      logits.mul_(outputs[0]);
      add_outer_product(p.gradient, logits, h);
      hidden_gradient.narrow(0, row, count).copy_(logits.to(h.scalar_type()).mm(weight));
    }
    return {hidden_gradient, {}, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, Parameter& matrix, int64_t first_row, int64_t num_rows,
                  at::ScalarType out_type) {
  return Linear::apply(x, matrix.value, handle(matrix), first_row, num_rows, static_cast<int64_t>(out_type));
}
at::Tensor linear(const at::Tensor& x, Parameter& matrix) {
  return linear(x, matrix, 0, matrix.rows, x.scalar_type());
}

at::Tensor embedding(const at::Tensor& ids, Parameter& matrix) {
  return Embedding::apply(ids, matrix.value, handle(matrix));
}

at::Tensor use(Parameter& parameter, at::ScalarType type) {
  return Use::apply(parameter.value, handle(parameter), static_cast<int64_t>(type));
}

namespace {

// x / sqrt(mean(x^2) + epsilon) over the last dimension, in `statistics`.
at::Tensor normed(const at::Tensor& x, double epsilon, at::ScalarType statistics) {
  const at::Tensor wide = x.to(statistics);
  return wide * at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + epsilon);
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double epsilon, at::ScalarType statistics) {
  return (normed(x, epsilon, statistics) * use(weight, statistics)).to(x.scalar_type());
}

at::Tensor head_rms_norm(const at::Tensor& x, Parameter& weight, double epsilon, at::ScalarType statistics) {
  return (normed(x, epsilon, statistics) * use(weight, statistics).view({x.size(-2), x.size(-1)}))
      .to(x.scalar_type());
}

Normed add_rms_norm(const at::Tensor& x, const at::Tensor& delta, Parameter& weight, double epsilon,
                    at::ScalarType statistics) {
  if (fused::norm_usable(x, weight)) return fused::add_rms_norm(x, delta, weight, epsilon);
  const at::Tensor sum = delta.defined() ? x + delta : x;
  return {sum, rms_norm(sum, weight, epsilon, statistics)};
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  if (fused::usable(gate_up) && gate_up.size(-1) % 16 == 0) return fused::swiglu(gate_up);
  const int64_t n = gate_up.size(-1) / 2;
  return at::silu(gate_up.narrow(-1, 0, n)) * gate_up.narrow(-1, n, n);
}

at::Tensor rotate_pairs(const at::Tensor& z, const at::Tensor& cosine, const at::Tensor& sine) {
  const at::Tensor pairs = z.unflatten(-1, {-1, 2});
  const at::Tensor a = pairs.select(-1, 0), b = pairs.select(-1, 1);
  return at::stack({a * cosine - b * sine, a * sine + b * cosine}, -1).flatten(-2);
}

at::Tensor cross_entropy_sum(const at::Tensor& hidden, Parameter& matrix, int64_t vocab_size,
                             const at::Tensor& targets, at::ScalarType statistics) {
  if (fused::cross_entropy_usable(hidden, matrix))
    return fused::cross_entropy_sum(hidden, matrix, vocab_size, targets);
  return CrossEntropySum::apply(hidden, matrix.value, handle(matrix), vocab_size, targets,
                                static_cast<int64_t>(statistics));
}

at::Tensor cross_entropies(const at::Tensor& hidden, const Parameter& matrix, int64_t vocab_size,
                           const at::Tensor& targets, at::ScalarType statistics, at::Tensor* correct) {
  const int64_t part = rows_per_part(matrix.rows);
  const at::Tensor losses = at::empty({hidden.size(0)}, hidden.options().dtype(statistics));
  if (correct) *correct = at::empty({hidden.size(0)}, hidden.options().dtype(at::kBool));
  for (int64_t row = 0; row < hidden.size(0); row += part) {
    const int64_t count = std::min(part, hidden.size(0) - row);
    const at::Tensor logits =
        part_logits(hidden.narrow(0, row, count), matrix.value.detach(), vocab_size, statistics);
    const at::Tensor target = targets.narrow(0, row, count);
    losses.narrow(0, row, count)
        .copy_(logits.logsumexp(1) - logits.gather(1, target.unsqueeze(1)).squeeze(1));
    if (correct) correct->narrow(0, row, count).copy_(logits.argmax(1).eq(target));
  }
  return losses;
}

}  // namespace sisa::model
