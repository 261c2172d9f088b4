// From a layer's input to attention's query, key and value, or on to its output, and back.
#include <ATen/TensorOperators.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "model/operations/attention.h"
#include "model/operations/functional.h"
#include "model/operations/fused.h"
#include "model/operations/fused_tensors.h"

namespace sisa::model::fused {
namespace {

using kernels::ChannelShape;

// x (B, T, ·) times the transpose of rows [begin, end) of a stored matrix.
at::Tensor multiply(const at::Tensor& x, const at::Tensor& weight, int64_t begin, int64_t end,
                    at::ScalarType type) {
  return matmul_to(as_rows(x), weight.narrow(0, begin, end - begin).t(), type)
      .view({x.size(0), x.size(1), end - begin});
}
at::Tensor value_of(const Parameter& p) {
  return p.value.detach().to(at::kFloat);
}

// How the training form of SISA represents decay.
enum class Decays { one_segment, segments, exponents };
Decays decays_of(const ModelConfig& config, bool exponents_known) {
  if (config.offset == "minimax" || config.decay == "none") return Decays::one_segment;
  if (exponents_known && config.max_segments == 0) return Decays::exponents;
  return config.num_segments() == 1 ? Decays::one_segment : Decays::segments;
}

// What an operation is given. Autograd's functions take x and the matrix's value besides, to see the graph.
struct Given {
  at::Tensor x, weight;
  Parameter* matrix;
  Projection rows;
  at::Tensor cosine, sine;
  const ModelConfig& config;
  const StateChannels* state;  // null: none
  at::Tensor num_limited;
};

// Everything from the projections to query and key: what the way back needs.
struct Channels {
  ChannelShape shape;
  at::Tensor x, projections, gates, cosine, sine;
  at::Tensor phases, decays, offsets, exponents, amplitudes, alpha_bias, lambda;
  double limit = 0, segment_width = 0;
  at::Tensor query, key;

  kernels::ChannelState state() const {
    return {data_of<float>(phases),
            data_of<double>(decays),
            data_of<double>(offsets),
            data_of<float>(amplitudes),
            limit,
            segment_width,
            data_of<int16_t>(exponents)};
  }
  // The value's memory as it lies among the projections.
  at::Tensor value() const {
    at::Tensor values = like(projections, {0}, at::kBFloat16);
    const ChannelShape& s = shape;
    values.set_(projections.storage(), projections.storage_offset() + 2 * s.heads * s.d_head,
                {s.batch, s.length, s.heads, s.d_head}, {s.length * s.row, s.row, s.d_head, 1});
    return values;
  }
};

// Autograd's contexts keep tensors and lists of numbers.
void save(AutogradContext* context, const Given& given, const Channels& c, const variable_list& more) {
  variable_list all = {c.x,      c.projections, c.gates,     c.cosine,     c.sine,       c.phases,
                       c.decays, c.offsets,     c.exponents, c.amplitudes, c.alpha_bias, c.lambda};
  all.insert(all.end(), more.begin(), more.end());
  context->save_for_backward(all);
  const ChannelShape& s = c.shape;
  context->saved_data["shape"] =
      std::vector<int64_t>{s.batch, s.length, s.heads, s.d_head,     s.d_state, s.num_segments,
                           s.width, s.row,    s.gates, s.num_angles, s.decays};
  context->saved_data["limits"] = std::vector<double>{c.limit, c.segment_width};
  context->saved_data["parameter"] = handle(*given.matrix);
  context->saved_data["state"] = reinterpret_cast<int64_t>(given.state);
}
std::pair<Channels, variable_list> load(AutogradContext* context) {
  const variable_list all = context->get_saved_variables();
  const auto n = context->saved_data["shape"].toIntVector();
  const auto limits = context->saved_data["limits"].toDoubleVector();
  Channels c{.shape = {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10] != 0},
             .limit = limits[0],
             .segment_width = limits[1]};
  std::tie(c.x, c.projections, c.gates, c.cosine, c.sine, c.phases, c.decays, c.offsets, c.exponents,
           c.amplitudes, c.alpha_bias, c.lambda) = std::tie(all[0], all[1], all[2], all[3], all[4], all[5],
                                                            all[6], all[7], all[8], all[9], all[10], all[11]);
  return {c, {all.begin() + 12, all.end()}};
}

ChannelShape shape_of(const Given& given) {
  const ModelConfig& config = given.config;
  const StateChannels* state = given.state;
  return {.batch = given.x.size(0),
          .length = given.x.size(1),
          .heads = config.num_heads,
          .d_head = config.d_head(),
          .d_state = state ? config.d_state : 0,
          .row = given.rows.channels_end,
          .gates = given.rows.gates_end - given.rows.channels_end,
          .num_angles = state ? state->num_angles : 0,
          .decays = state && state->alpha_bias};
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

// Where decays begin to count from (augmentation.h, kernels.h), and the count of segments if there are any.
std::optional<SegmentCount> choose_offsets(const ModelConfig& config, Decays form, Channels& c) {
  const ChannelShape& s = c.shape;
  const at::Tensor g = c.decays.view({s.batch, s.length, s.heads});
  if (form == Decays::exponents) {
    c.limit = kernels::exponent_step;
    c.exponents = like(g, {s.batch, s.heads, kernels::num_exponents(s.length)}, at::kShort);
    return std::nullopt;
  }
  if (config.offset == "minimax") {
    c.limit = config.clamp;
    c.offsets = ((g.amax(1) + g.amin(1)) / -2).contiguous();
    return std::nullopt;
  }
  c.limit = config.causal_offset;
  c.segment_width = 2 * config.causal_offset;
  c.offsets = at::full({s.batch, s.heads}, c.limit, g.options());
  if (form == Decays::one_segment) return std::nullopt;
  return std::optional<SegmentCount>(std::in_place, g, c.segment_width, config.num_segments());
}

// Of gates (B, T, gates), which are undefined where there are none.
std::optional<SegmentCount> make_state(const Given& given, Decays form, Channels& c) {
  const ChannelShape& s = c.shape;
  const StateChannels& state = *given.state;
  const at::TensorOptions options = given.x.options().requires_grad(false);
  const auto empty = [&](int64_t columns, at::ScalarType type) {
    return at::empty({s.batch * s.length, columns}, options.dtype(type));
  };
  const at::Tensor raw = state.lambda_raw
                             ? value_of(*state.lambda_raw)
                             : at::full({s.heads}, state.fixed_lambda_raw, options.dtype(at::kFloat));
  c.lambda = at::softplus(raw).clamp_min(state.smallest_lambda);
  c.amplitudes = (c.lambda.sqrt() * std::pow(static_cast<double>(s.d_head), 0.25)).contiguous();
  if (s.num_angles > 0) c.phases = empty(s.num_angles, at::kFloat);
  if (s.decays) {
    c.decays = empty(s.heads, at::kDouble);
    c.alpha_bias = value_of(*state.alpha_bias);
  }
  if (c.gates.defined())
    kernels::scan_gates(s, c.gates.const_data_ptr<float>(), data_of<float>(c.alpha_bias),
                        data_of<float>(c.phases), data_of<double>(c.decays), stream());
  return s.decays ? choose_offsets(given.config, form, c) : std::nullopt;
}

Channels make_channels(const Given& given, Decays form) {
  Channels c{.shape = shape_of(given), .x = given.x, .cosine = given.cosine, .sine = given.sine};
  ChannelShape& s = c.shape;
  const Projection& rows = given.rows;
  if (s.gates > 0) c.gates = multiply(given.x, given.weight, rows.channels_end, rows.gates_end, at::kFloat);
  std::optional<SegmentCount> num_segments;
  if (given.state) num_segments = make_state(given, form, c);
  c.projections = multiply(given.x, given.weight, 0, rows.channels_end, at::kBFloat16);
  if (num_segments) s.num_segments = num_segments->wait();
  s.width = attention_width(s.d_head + s.num_segments * s.d_state);
  c.query = like(c.projections, {s.batch, s.length, s.heads, s.width}, at::kBFloat16);
  c.key = at::empty_like(c.query);
  kernels::channels(s, bits(c.projections), data_of<float>(c.cosine), data_of<float>(c.sine), c.state(),
                    mutable_bits(c.query), mutable_bits(c.key), data_of<int64_t>(given.num_limited),
                    stream());
  return c;
}

// Of channels and gates, whose rows are neighbours in the matrix: one product serves both.
at::Tensor projection_gradients(const Channels& c) {
  const ChannelShape& s = c.shape;
  return like(c.projections, {s.batch, s.length, s.row + s.gates}, at::kBFloat16);
}
// From the gradients of query, key and value to that of x; those of parameters are added. projected: of
// projection_gradients, with the value's already there or among `gradients`.
at::Tensor propagate(AutogradContext* context, const Channels& c, const kernels::HeadGradients& gradients,
                     const at::Tensor& projected) {
  const ChannelShape& s = c.shape;
  at::Tensor sums, amplitude_gradients;
  if (c.gates.defined()) sums = at::empty_like(c.gates);
  if (s.d_state > 0) amplitude_gradients = like(projected, {s.batch * s.length, s.heads}, at::kFloat);
  kernels::channels_backward(s, bits(c.projections), data_of<float>(c.cosine), data_of<float>(c.sine),
                             c.state(), gradients, mutable_bits(projected), data_of<float>(sums),
                             data_of<float>(amplitude_gradients), stream());
  const auto* state = reinterpret_cast<const StateChannels*>(context->saved_data["state"].toInt());
  if (c.gates.defined()) {
    const at::Tensor bias_gradients = like(projected, {s.batch, s.heads}, at::kFloat);
    kernels::scan_gates_backward(s, data_of<float>(c.gates), data_of<float>(c.alpha_bias),
                                 data_of<float>(sums), mutable_bits(projected),
                                 data_of<float>(bias_gradients), stream());
    if (s.decays) state->alpha_bias->gradient.add_(bias_gradients.sum(0));
  }
  if (state && state->lambda_raw) {
    // d amplitude / amplitude = d lambda / (2 lambda), d lambda = sigmoid(raw) d raw; none at the floor.
    const at::Tensor slope = at::sigmoid(value_of(*state->lambda_raw)) / (2 * c.lambda);
    state->lambda_raw->gradient.add_(amplitude_gradients.sum(0) * slope *
                                     c.lambda.gt(state->smallest_lambda));
  }
  const Parameter& p = parameter_of(context);
  const at::Tensor output = as_rows(projected);
  add_outer_product(p.gradient.narrow(0, 0, output.size(1)), output, as_rows(c.x));
  return output.mm(p.value.detach().narrow(0, 0, output.size(1))).view(c.x.sizes());
}

struct MakeHeads : torch::autograd::Function<MakeHeads> {
  static variable_list forward(AutogradContext* context, const at::Tensor& /*x*/, const at::Tensor& /*value*/,
                               const Given* given) {
    const Channels c = make_channels(*given, decays_of(given->config, /*exponents_known=*/false));
    save(context, *given, c, {});
    return {c.query, c.key, c.value()};
  }
  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const Channels c = load(context).first;
    const at::Tensor query = outputs[0].contiguous(), key = outputs[1].contiguous(),
                     values = outputs[2].stride(-1) == 1 ? outputs[2] : outputs[2].contiguous();
    const kernels::HeadGradients gradients{
        .query = bits(query),
        .key = bits(key),
        .value = static_cast<const Bf16*>(values.const_data_ptr()),
        .value_strides = {values.stride(0), values.stride(1), values.stride(2)}};
    return {propagate(context, c, gradients, projection_gradients(c)), {}, {}};
  }
};

kernels::AttentionShape attention_shape(const Channels& c) {
  const ChannelShape& s = c.shape;
  return {.batch = s.batch,
          .length = s.length,
          .heads = s.heads,
          .d_state = s.d_state,
          .scale = 1 / std::sqrt(static_cast<double>(s.d_head)),
          .exponents = data_of<int16_t>(c.exponents),
          .value_strides = {s.length * s.row, s.row, s.d_head}};
}

struct Attend : torch::autograd::Function<Attend> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& /*value*/,
                            const Given* given) {
    const Channels c = make_channels(*given, decays_of(given->config, /*exponents_known=*/true));
    const ChannelShape& s = c.shape;
    TORCH_INTERNAL_ASSERT(s.width == s.d_head + s.d_state);  // as the kernels take it to be
    const at::Tensor output = like(x, {s.batch, s.length, s.heads * s.d_head}, at::kBFloat16),
                     logsumexp = like(x, {s.batch, s.heads, kernels::attention_rows(s.length)}, at::kFloat);
    kernels::attention(attention_shape(c), bits(c.query), bits(c.key),
                       static_cast<const Bf16*>(c.value().const_data_ptr()), mutable_bits(output),
                       data_of<float>(logsumexp), stream());
    save(context, *given, c, {c.query, c.key, output, logsumexp});
    return output;
  }
  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const auto [c, more] = load(context);
    const at::Tensor &query = more[0], &key = more[1], &output = more[2], &logsumexp = more[3];
    const ChannelShape& s = c.shape;
    const kernels::AttentionShape shape = attention_shape(c);
    const at::Tensor gradient = outputs[0].contiguous(), projected = projection_gradients(c),
                     query_gradient = like(query, query.sizes(), at::kFloat),
                     key_gradient = like(key, {s.batch, s.length, s.heads, s.d_head}, at::kBFloat16),
                     state_gradient = like(key, {s.batch, s.length, s.heads, s.d_state}, at::kFloat),
                     products = at::empty_like(logsumexp),
                     turns =
                         at::zeros({kernels::attention_turns(shape)}, logsumexp.options().dtype(at::kInt));
    const int64_t row = s.row + s.gates;
    kernels::attention_backward(shape, bits(query), bits(key),
                                static_cast<const Bf16*>(c.value().const_data_ptr()), bits(output),
                                data_of<float>(logsumexp),
                                {.output = bits(gradient),
                                 .query = data_of<float>(query_gradient),
                                 .key = mutable_bits(key_gradient),
                                 .key_state = data_of<float>(state_gradient),
                                 .value = mutable_bits(projected) + 2 * s.heads * s.d_head,
                                 .value_strides = {s.length * row, row, s.d_head}},
                                data_of<float>(products), data_of<int>(turns), stream());
    const kernels::HeadGradients gradients{.key = bits(key_gradient),
                                           .query_fp32 = data_of<float>(query_gradient),
                                           .key_state_fp32 = data_of<float>(state_gradient)};
    return {propagate(context, c, gradients, projected), {}, {}};
  }
};

Given given(const at::Tensor& x, Parameter& matrix, const ModelConfig& config, const Projection& rows,
            const at::Tensor& cosine, const at::Tensor& sine, const StateChannels* state) {
  at::Tensor num_limited;
  if (state && state->alpha_bias)
    num_limited = at::zeros({}, x.options().dtype(at::kLong).requires_grad(false));
  return {x, matrix.value.detach(), &matrix, rows, cosine, sine, config, state, num_limited};
}

// State channels a head; 0: none.
int64_t d_state_of(const ModelConfig& config, const Projection& rows) {
  return (rows.channels_end - 3 * config.d_model) / (2 * config.num_heads);
}

}  // namespace

bool heads_usable(const at::Tensor& x, const Parameter& matrix, const ModelConfig& config,
                  const Projection& rows) {
  return usable(x, matrix.gradient) && kernels::channels_fit({.heads = config.num_heads,
                                                              .d_head = config.d_head(),
                                                              .d_state = d_state_of(config, rows),
                                                              .num_segments = config.num_segments(),
                                                              .row = rows.channels_end,
                                                              .gates = rows.gates_end - rows.channels_end});
}

bool attention_usable(const at::Tensor& x, const Parameter& matrix, const ModelConfig& config,
                      const Projection& rows) {
  const int64_t d_state = d_state_of(config, rows);
  return heads_usable(x, matrix, config, rows) && rows.gates_end % 8 == 0 &&
         kernels::attention_fits(config.d_head(), d_state) &&
         (d_state == 0 || decays_of(config, /*exponents_known=*/true) != Decays::segments);
}

bool attention_in_blocks(const at::Tensor& x, const Parameter& matrix, const ModelConfig& config,
                         const Projection& rows) {
  return attention_usable(x, matrix, config, rows) &&
         decays_of(config, /*exponents_known=*/true) == Decays::exponents;
}

Heads heads(const at::Tensor& x, Parameter& matrix, const ModelConfig& config, const Projection& rows,
            const at::Tensor& cosine, const at::Tensor& sine, const StateChannels* state) {
  const Given all = given(x, matrix, config, rows, cosine, sine, state);
  const variable_list outputs = MakeHeads::apply(x, matrix.value, &all);
  return {outputs[0], outputs[1], outputs[2], all.num_limited};
}

Attended attention(const at::Tensor& x, Parameter& matrix, const ModelConfig& config, const Projection& rows,
                   const at::Tensor& cosine, const at::Tensor& sine, const StateChannels* state) {
  const Given all = given(x, matrix, config, rows, cosine, sine, state);
  return {Attend::apply(x, matrix.value, &all), all.num_limited};
}

}  // namespace sisa::model::fused
