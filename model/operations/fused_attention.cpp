// From a layer's input to attention's query, key and value, or on to its output, and back.
#include <ATen/TensorOperators.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "model/operations/attention.h"
#include "model/operations/fused.h"
#include "model/operations/fused_tensors.h"
#include "model/operations/products.h"

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

// How the training form represents decay.
enum class DecayForm { one_segment, segments, exponents };
DecayForm decay_form(const HeadProjection& projection, bool exponents_known) {
  const StateChannels* state = projection.state;
  if (!state || !state->alpha_bias || state->offset.kind == DecayOffset::Kind::minimax)
    return DecayForm::one_segment;
  if (exponents_known && state->offset.max_segments == 0) return DecayForm::exponents;
  const int64_t num_segments = state->offset.num_segments(projection.shape.d_head, state->d_state);
  return num_segments == 1 ? DecayForm::one_segment : DecayForm::segments;
}

// What an operation is given. Autograd's functions take x and the matrix's value besides, to see the graph.
struct Given {
  at::Tensor x, weight;
  Parameter* matrix;
  const HeadProjection& projection;
  at::Tensor cosine, sine;
  at::Tensor num_limited;
};

// Everything from the projections to query and key: what the way back needs.
struct Channels {
  ChannelShape shape;
  at::Tensor x, projections, gates, cosine, sine;
  at::Tensor phases, decays, offsets, exponents, amplitudes, alpha_bias, lambda;
  double limit = 0, segment_width = 0;
  at::Tensor query, key;
  at::Tensor output, logsumexp;  // where attention is ours too

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

// Autograd's contexts keep tensors and lists of numbers. What is listed here is saved and comes back.
constexpr std::array saved_tensors = {
    &Channels::x,         &Channels::projections, &Channels::gates,      &Channels::cosine,
    &Channels::sine,      &Channels::phases,      &Channels::decays,     &Channels::offsets,
    &Channels::exponents, &Channels::amplitudes,  &Channels::alpha_bias, &Channels::lambda,
    &Channels::query,     &Channels::key,         &Channels::output,     &Channels::logsumexp};
constexpr std::array saved_numbers = {&Channels::limit, &Channels::segment_width};
constexpr std::array saved_sizes = {
    &ChannelShape::batch,   &ChannelShape::length,       &ChannelShape::heads, &ChannelShape::d_head,
    &ChannelShape::d_state, &ChannelShape::num_segments, &ChannelShape::width, &ChannelShape::row,
    &ChannelShape::gates,   &ChannelShape::num_angles};

void save(AutogradContext* context, const Given& given, const Channels& c) {
  variable_list tensors;
  for (const auto member : saved_tensors) tensors.push_back(c.*member);
  context->save_for_backward(tensors);
  std::vector<double> numbers;
  for (const auto member : saved_numbers) numbers.push_back(c.*member);
  context->saved_data["numbers"] = numbers;
  std::vector<int64_t> sizes;
  for (const auto member : saved_sizes) sizes.push_back(c.shape.*member);
  context->saved_data["sizes"] = sizes;
  context->saved_data["decays"] = c.shape.decays;
  context->saved_data["parameter"] = handle(*given.matrix);
  context->saved_data["state"] = reinterpret_cast<int64_t>(given.projection.state);
}

Channels load(AutogradContext* context) {
  Channels c;
  const variable_list tensors = context->get_saved_variables();
  for (size_t i = 0; i < saved_tensors.size(); ++i) c.*saved_tensors[i] = tensors[i];
  const auto numbers = context->saved_data["numbers"].toDoubleVector();
  for (size_t i = 0; i < saved_numbers.size(); ++i) c.*saved_numbers[i] = numbers[i];
  const auto sizes = context->saved_data["sizes"].toIntVector();
  for (size_t i = 0; i < saved_sizes.size(); ++i) c.shape.*saved_sizes[i] = sizes[i];
  c.shape.decays = context->saved_data["decays"].toBool();
  return c;
}

// Without the batch's sizes, which only x has.
ChannelShape shape_of(const HeadProjection& projection) {
  const StateChannels* state = projection.state;
  return {.batch = 0,
          .length = 0,
          .heads = projection.shape.num_heads,
          .d_head = projection.shape.d_head,
          .d_state = state ? state->d_state : 0,
          .row = projection.channels_end,
          .gates = projection.gates_end - projection.channels_end,
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

// Chooses where decays begin to count from (augmentation.h, kernels.h); returns the count of segments if there
// are any.
std::optional<SegmentCount> choose_offsets(const HeadProjection& projection, DecayForm form, Channels& c) {
  const ChannelShape& s = c.shape;
  const DecayOffset& offset = projection.state->offset;
  const at::Tensor g = c.decays.view({s.batch, s.length, s.heads});
  if (form == DecayForm::exponents) {
    c.limit = kernels::exponent_step;
    c.exponents = like(g, {s.batch, s.heads, kernels::num_exponents(s.length)}, at::kShort);
    return std::nullopt;
  }
  c.limit = offset.limit;
  if (offset.kind == DecayOffset::Kind::minimax) {
    c.offsets = ((g.amax(1) + g.amin(1)) / -2).contiguous();
    return std::nullopt;
  }
  c.segment_width = 2 * offset.limit;
  c.offsets = at::full({s.batch, s.heads}, c.limit, g.options());
  if (form == DecayForm::one_segment) return std::nullopt;
  return std::optional<SegmentCount>(std::in_place, g, c.segment_width,
                                     offset.num_segments(s.d_head, s.d_state));
}

// Fills in what the state channels are made of. The gates (B, T, gates) are undefined where there are none.
std::optional<SegmentCount> make_state(const Given& given, DecayForm form, Channels& c) {
  const ChannelShape& s = c.shape;
  const StateChannels& state = *given.projection.state;
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
  return s.decays ? choose_offsets(given.projection, form, c) : std::nullopt;
}

Channels make_channels(const Given& given, DecayForm form) {
  const HeadProjection& rows = given.projection;
  Channels c{.shape = shape_of(rows), .x = given.x, .cosine = given.cosine, .sine = given.sine};
  ChannelShape& s = c.shape;
  s.batch = given.x.size(0);
  s.length = given.x.size(1);
  if (s.gates > 0) c.gates = multiply(given.x, given.weight, rows.channels_end, rows.gates_end, at::kFloat);
  std::optional<SegmentCount> num_segments;
  if (rows.state) num_segments = make_state(given, form, c);
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

// Memory for the gradients of channels and gates, whose rows are neighbours in the matrix, so that one product
// serves both.
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
    Channels c = make_channels(*given, decay_form(given->projection, /*exponents_known=*/false));
    const variable_list outputs = {std::exchange(c.query, {}), std::exchange(c.key, {}), c.value()};
    save(context, *given, c);
    return outputs;
  }
  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const Channels c = load(context);
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

double usual_scale(int64_t d_head) {
  return 1 / std::sqrt(static_cast<double>(d_head));
}

kernels::AttentionCall attention_shape(const Channels& c) {
  const ChannelShape& s = c.shape;
  return {.batch = s.batch,
          .length = s.length,
          .heads = s.heads,
          .d_state = s.d_state,
          .scale = usual_scale(s.d_head),
          .exponents = data_of<int16_t>(c.exponents),
          .value_strides = {s.length * s.row, s.row, s.d_head}};
}

struct Attend : torch::autograd::Function<Attend> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& /*value*/,
                            const Given* given) {
    Channels c = make_channels(*given, decay_form(given->projection, /*exponents_known=*/true));
    const ChannelShape& s = c.shape;
    TORCH_INTERNAL_ASSERT(s.width == s.d_head + s.d_state);  // as the kernels take it to be
    c.output = like(x, {s.batch, s.length, s.heads * s.d_head}, at::kBFloat16);
    c.logsumexp = like(x, {s.batch, s.heads, kernels::attention_rows(s.length)}, at::kFloat);
    kernels::attention(attention_shape(c), bits(c.query), bits(c.key),
                       static_cast<const Bf16*>(c.value().const_data_ptr()), mutable_bits(c.output),
                       data_of<float>(c.logsumexp), stream());
    save(context, *given, c);
    return c.output;
  }
  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const Channels c = load(context);
    const ChannelShape& s = c.shape;
    const kernels::AttentionCall shape = attention_shape(c);
    const at::Tensor gradient = outputs[0].contiguous(), projected = projection_gradients(c),
                     query_gradient = like(c.query, c.query.sizes(), at::kFloat),
                     key_gradient = like(c.key, {s.batch, s.length, s.heads, s.d_head}, at::kBFloat16),
                     state_gradient = like(c.key, {s.batch, s.length, s.heads, s.d_state}, at::kFloat),
                     products = at::empty_like(c.logsumexp),
                     turns =
                         at::zeros({kernels::attention_turns(shape)}, c.logsumexp.options().dtype(at::kInt));
    const int64_t row = s.row + s.gates;
    kernels::attention_backward(shape, bits(c.query), bits(c.key),
                                static_cast<const Bf16*>(c.value().const_data_ptr()), bits(c.output),
                                data_of<float>(c.logsumexp),
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

Given given(const at::Tensor& x, Parameter& matrix, const HeadProjection& projection,
            const at::Tensor& cosine, const at::Tensor& sine) {
  at::Tensor num_limited;
  if (projection.state && projection.state->alpha_bias)
    num_limited = at::zeros({}, x.options().dtype(at::kLong).requires_grad(false));
  return {x, matrix.value.detach(), &matrix, projection, cosine, sine, num_limited};
}

// Whether the kernels know this geometry: every head with keys, values and rotary positions of its own, all
// earlier tokens seen and the usual scale.
bool geometry_fits(const AttentionShape& shape) {
  return shape.scale == usual_scale(shape.d_head) && shape.num_kv_heads == shape.num_heads &&
         shape.d_value == shape.d_head && shape.is_full() && shape.rope_base > 0;
}

}  // namespace

Service service(const at::Tensor& x, const Parameter& matrix, const HeadProjection& projection) {
  const ChannelShape shape = shape_of(projection);
  if (!usable(x, matrix.gradient) || !geometry_fits(projection.shape) || !kernels::channels_fit(shape))
    return Service::none;
  const bool ours = projection.gates_end % 8 == 0 && kernels::attention_fits(shape.d_head, shape.d_state) &&
                    decay_form(projection, /*exponents_known=*/true) != DecayForm::segments;
  return ours ? Service::attention : Service::heads;
}

bool decays_in_blocks(const at::Tensor& x, const Parameter& matrix, const HeadProjection& projection) {
  return service(x, matrix, projection) == Service::attention &&
         decay_form(projection, /*exponents_known=*/true) == DecayForm::exponents;
}

Heads heads(const at::Tensor& x, Parameter& matrix, const HeadProjection& projection,
            const at::Tensor& cosine, const at::Tensor& sine) {
  const Given all = given(x, matrix, projection, cosine, sine);
  const variable_list outputs = MakeHeads::apply(x, matrix.value, &all);
  return {outputs[0], outputs[1], outputs[2], all.num_limited};
}

Output attention(const at::Tensor& x, Parameter& matrix, const HeadProjection& projection,
                 const at::Tensor& cosine, const at::Tensor& sine) {
  const Given all = given(x, matrix, projection, cosine, sine);
  return {Attend::apply(x, matrix.value, &all), all.num_limited};
}

}  // namespace sisa::model::fused
