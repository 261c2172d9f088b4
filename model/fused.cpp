#include "model/fused.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>

#include "model/attention.h"
#include "model/functional.h"
#include "model/kernels/kernels.h"

namespace sisa::model::fused {
namespace {

using common::Parameter;
using kernels::Bf16;
using kernels::ChannelShape;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Of what autograd's functions take, a tensor that may be undefined.
using Maybe = std::optional<at::Tensor>;
Maybe maybe(const at::Tensor& x) {
  return x.defined() ? Maybe(x) : std::nullopt;
}

std::atomic<bool> enabled = true;

void* stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}
const Bf16* bits(const at::Tensor& x) {  // null: undefined
  TORCH_INTERNAL_ASSERT(!x.defined() || (x.is_contiguous() && x.scalar_type() == at::kBFloat16));
  return x.defined() ? static_cast<const Bf16*>(x.const_data_ptr()) : nullptr;
}
Bf16* mutable_bits(const at::Tensor& x) {
  return const_cast<Bf16*>(bits(x));
}
template <typename T>
T* data_of(const at::Tensor& x) {  // null: undefined
  return x.defined() ? x.data_ptr<T>() : nullptr;
}
at::Tensor contiguous(const at::Tensor& x) {
  return x.defined() ? x.contiguous() : x;
}
at::Tensor like(const at::Tensor& x, at::IntArrayRef shape, at::ScalarType type) {
  return at::empty(shape, x.options().dtype(type).requires_grad(false));
}
at::Tensor as_rows(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

// Autograd contexts keep integers; parameters outlive every graph.
int64_t handle(Parameter* p) {
  return reinterpret_cast<int64_t>(p);
}
Parameter* parameter_of(AutogradContext* context, const char* name) {
  return reinterpret_cast<Parameter*>(context->saved_data[name].toInt());
}

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
    const Parameter& p = *parameter_of(context, "parameter");
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

// Logits are made for so many rows at a time: 0.8 GB at a vocabulary of 50,304.
constexpr int64_t rows_per_part = 8192;

struct CrossEntropySum : torch::autograd::Function<CrossEntropySum> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& value,
                            int64_t parameter, int64_t vocab_size, const at::Tensor& targets) {
    const Parameter& p = *reinterpret_cast<Parameter*>(parameter);
    const at::Tensor weight = value.detach(), losses = like(hidden, {hidden.size(0)}, at::kFloat),
                     hidden_gradient = at::empty_like(hidden);
    const int64_t part = std::min(rows_per_part, hidden.size(0));
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

// x (B, T, ·) times the transpose of rows [begin, end) of a stored matrix.
at::Tensor multiply(const at::Tensor& x, const at::Tensor& weight, int64_t begin, int64_t end,
                    at::ScalarType type) {
  return matmul_to(as_rows(x), weight.narrow(0, begin, end - begin).t(), type)
      .view({x.size(0), x.size(1), end - begin});
}
ChannelShape shape_of(const ModelConfig& config, const at::Tensor& x, const Projection& rows,
                      const StateChannels* state) {
  return {.batch = x.size(0),
          .length = x.size(1),
          .heads = config.num_heads,
          .d_head = config.d_head(),
          .d_state = state ? config.d_state : 0,
          .row = rows.channels_end,
          .gates = rows.gates_end - rows.channels_end,
          .num_angles = state ? state->num_angles : 0,
          .decays = state && state->alpha_bias};
}

// Everything that attention channels are made of besides the projections.
struct Made {
  ChannelShape shape;
  at::Tensor phases, decays, offsets, amplitudes, alpha_bias, lambda;
  double limit = 0, segment_width = 0;
  kernels::ChannelState state() const {
    return {data_of<float>(phases),
            data_of<double>(decays),
            data_of<double>(offsets),
            data_of<float>(amplitudes),
            limit,
            segment_width};
  }
};

at::Tensor value_of(const Parameter& p) {
  return p.value.detach().to(at::kFloat);
}

// The shape of query and key depends on how many segments the decays take, which the host reads while the
// device goes on with what does not.
class SegmentCount {
 public:
  // decays: g (B, T, H).
  SegmentCount(const at::Tensor& decays, double segment_width, int64_t most)
      : least_(decays.select(1, decays.size(1) - 1).min().to(at::kCPU, at::kDouble, /*non_blocking=*/true)),
        segment_width_(segment_width),
        most_(most) {
    ready_.record();
  }
  int64_t wait() {
    ready_.synchronize();
    const double segments = std::ceil(-least_.item<double>() / segment_width_);
    return std::clamp<int64_t>(static_cast<int64_t>(segments), 1, most_);
  }

 private:
  at::Tensor least_;
  double segment_width_;
  int64_t most_;
  at::cuda::CUDAEvent ready_;
};

// One offset for each sequence and head (augmentation.h), and the count of segments where there may be
// several.
std::optional<SegmentCount> choose_offsets(const ModelConfig& config, Made& made) {
  const ChannelShape& s = made.shape;
  const at::Tensor g = made.decays.view({s.batch, s.length, s.heads});
  if (config.offset == "minimax") {
    made.limit = config.clamp;
    made.offsets = ((g.amax(1) + g.amin(1)) / -2).contiguous();
    return std::nullopt;
  }
  made.limit = config.causal_offset;
  made.segment_width = 2 * config.causal_offset;
  made.offsets = at::full({s.batch, s.heads}, made.limit, g.options());
  if (config.num_segments() == 1) return std::nullopt;
  return std::optional<SegmentCount>(std::in_place, g, made.segment_width, config.num_segments());
}

// Of gates (B, T, gates), which are undefined where there are none.
std::optional<SegmentCount> make_state(const ModelConfig& config, const at::Tensor& gates,
                                       const StateChannels& state, const at::TensorOptions& options,
                                       Made& made) {
  const ChannelShape& s = made.shape;
  const int64_t tokens = s.batch * s.length;
  const auto empty = [&](int64_t columns, at::ScalarType type) {
    return at::empty({tokens, columns}, options.dtype(type));
  };
  const at::Tensor raw = state.lambda_raw
                             ? value_of(*state.lambda_raw)
                             : at::full({s.heads}, state.fixed_lambda_raw, options.dtype(at::kFloat));
  made.lambda = at::softplus(raw).clamp_min(state.smallest_lambda);
  made.amplitudes = (made.lambda.sqrt() * std::pow(static_cast<double>(s.d_head), 0.25)).contiguous();
  if (s.num_angles > 0) made.phases = empty(s.num_angles, at::kFloat);
  if (s.decays) {
    made.decays = empty(s.heads, at::kDouble);
    made.alpha_bias = value_of(*state.alpha_bias);
  }
  if (gates.defined())
    kernels::scan_gates(s, gates.const_data_ptr<float>(), data_of<float>(made.alpha_bias),
                        data_of<float>(made.phases), data_of<double>(made.decays), stream());
  return s.decays ? choose_offsets(config, made) : std::nullopt;
}

struct MakeHeads : torch::autograd::Function<MakeHeads> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& value,
                               int64_t parameter, const Projection& rows, const at::Tensor& cosine,
                               const at::Tensor& sine, const ModelConfig& config, int64_t state_handle,
                               const Maybe& num_limited) {
    const auto* state = reinterpret_cast<const StateChannels*>(state_handle);
    const at::Tensor weight = value.detach();
    Made made{.shape = shape_of(config, x, rows, state)};
    ChannelShape& s = made.shape;
    at::Tensor gates;
    if (s.gates > 0) gates = multiply(x, weight, rows.channels_end, rows.gates_end, at::kFloat);
    std::optional<SegmentCount> num_segments;
    if (state) num_segments = make_state(config, gates, *state, x.options().requires_grad(false), made);
    const at::Tensor channels = multiply(x, weight, 0, rows.channels_end, at::kBFloat16);
    if (num_segments) s.num_segments = num_segments->wait();
    s.width = attention_width(s.d_head + s.num_segments * s.d_state);
    const at::Tensor query = like(channels, {s.batch, s.length, s.heads, s.width}, at::kBFloat16),
                     key = at::empty_like(query);
    kernels::channels(s, bits(channels), data_of<float>(cosine), data_of<float>(sine), made.state(),
                      mutable_bits(query), mutable_bits(key),
                      data_of<int64_t>(num_limited.value_or(at::Tensor())), stream());
    // The value's memory as it lies among the channels.
    at::Tensor values = like(channels, {0}, at::kBFloat16);
    values.set_(channels.storage(), channels.storage_offset() + 2 * s.heads * s.d_head,
                {s.batch, s.length, s.heads, s.d_head}, {s.length * s.row, s.row, s.d_head, 1});

    context->save_for_backward({x, channels, gates, cosine, sine, made.phases, made.decays, made.offsets,
                                made.amplitudes, made.alpha_bias, made.lambda});
    context->saved_data["parameter"] = parameter;
    context->saved_data["state"] = state_handle;
    context->saved_data["shape"] =
        std::vector<int64_t>{s.batch, s.length, s.heads, s.d_head,     s.d_state, s.num_segments,
                             s.width, s.row,    s.gates, s.num_angles, s.decays};
    context->saved_data["limits"] = std::vector<double>{made.limit, made.segment_width};
    return {query, key, values};
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &channels = saved[1], &gates = saved[2];
    const auto n = context->saved_data["shape"].toIntVector();
    const auto limits = context->saved_data["limits"].toDoubleVector();
    const Made made{.shape = {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10] != 0},
                    .phases = saved[5],
                    .decays = saved[6],
                    .offsets = saved[7],
                    .amplitudes = saved[8],
                    .alpha_bias = saved[9],
                    .lambda = saved[10],
                    .limit = limits[0],
                    .segment_width = limits[1]};
    const ChannelShape& s = made.shape;
    const at::Tensor query = outputs[0].contiguous(), key = outputs[1].contiguous(),
                     values = outputs[2].stride(-1) == 1 ? outputs[2] : outputs[2].contiguous();
    // Of channels and gates, whose rows are neighbours in the matrix: one product serves both.
    const at::Tensor projected = like(channels, {s.batch, s.length, s.row + s.gates}, at::kBFloat16);
    at::Tensor sums, amplitude_gradients;
    if (gates.defined()) sums = at::empty_like(gates);
    if (s.d_state > 0) amplitude_gradients = like(channels, {s.batch * s.length, s.heads}, at::kFloat);
    const int64_t value_strides[3] = {values.stride(0), values.stride(1), values.stride(2)};
    kernels::channels_backward(
        s, bits(channels), data_of<float>(saved[3]), data_of<float>(saved[4]), made.state(), bits(query),
        bits(key), static_cast<const Bf16*>(values.const_data_ptr()), value_strides, mutable_bits(projected),
        data_of<float>(sums), data_of<float>(amplitude_gradients), stream());
    const auto* state = reinterpret_cast<const StateChannels*>(context->saved_data["state"].toInt());
    if (gates.defined()) {
      const at::Tensor bias_gradients = like(channels, {s.batch, s.heads}, at::kFloat);
      kernels::scan_gates_backward(s, data_of<float>(gates), data_of<float>(made.alpha_bias),
                                   data_of<float>(sums), mutable_bits(projected),
                                   data_of<float>(bias_gradients), stream());
      if (s.decays) state->alpha_bias->gradient.add_(bias_gradients.sum(0));
    }
    if (state && state->lambda_raw) {
      // d amplitude / amplitude = d lambda / (2 lambda), d lambda = sigmoid(raw) d raw; none at the floor.
      const at::Tensor slope = at::sigmoid(value_of(*state->lambda_raw)) / (2 * made.lambda);
      state->lambda_raw->gradient.add_(amplitude_gradients.sum(0) * slope *
                                       made.lambda.gt(state->smallest_lambda));
    }
    const Parameter& p = *parameter_of(context, "parameter");
    const at::Tensor output = as_rows(projected);
    add_outer_product(p.gradient.narrow(0, 0, output.size(1)), output, as_rows(x));
    const at::Tensor gradient = output.mm(p.value.detach().narrow(0, 0, output.size(1)));
    return {gradient.view(x.sizes()), {}, {}, {}, {}, {}, {}, {}, {}};
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
  const variable_list outputs = AddRmsNorm::apply(x, maybe(delta), handle(&weight), epsilon);
  return {outputs[0], outputs[1]};
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  return Swiglu::apply(gate_up);
}

at::Tensor cross_entropy_sum(const at::Tensor& hidden, Parameter& matrix, int64_t vocab_size,
                             const at::Tensor& targets) {
  return CrossEntropySum::apply(hidden, matrix.value, handle(&matrix), vocab_size, targets);
}

bool heads_usable(const at::Tensor& x, const Parameter& matrix, const ModelConfig& config,
                  const Projection& rows) {
  return usable(x, matrix.gradient) &&
         kernels::channels_fit({.heads = config.num_heads,
                                .d_head = config.d_head(),
                                .d_state = (rows.channels_end - 3 * config.d_model) / (2 * config.num_heads),
                                .num_segments = config.num_segments(),
                                .row = rows.channels_end,
                                .gates = rows.gates_end - rows.channels_end});
}

Heads heads(const at::Tensor& x, Parameter& matrix, const ModelConfig& config, const Projection& rows,
            const at::Tensor& cosine, const at::Tensor& sine, const StateChannels* state) {
  at::Tensor num_limited;
  if (state && state->alpha_bias)
    num_limited = at::zeros({}, x.options().dtype(at::kLong).requires_grad(false));
  const variable_list outputs = MakeHeads::apply(x, matrix.value, handle(&matrix), rows, cosine, sine, config,
                                                 reinterpret_cast<int64_t>(state), maybe(num_limited));
  return {outputs[0], outputs[1], outputs[2], num_limited};
}

}  // namespace sisa::model::fused
