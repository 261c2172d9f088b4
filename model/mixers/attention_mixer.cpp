#include "model/mixers/attention_mixer.h"

#include <ATen/ops/cat.h>

#include <cmath>
#include <utility>

#include "model/operations/attention.h"
#include "model/operations/functional.h"

namespace sisa::model {

AttentionMixer::AttentionMixer(const LayerContext& context, const AttentionShape& shape)
    : context_(context), shape_(shape) {
  const int64_t d = context.config.d_model;
  if (shape.rope_base > 0) rope_.emplace(shape.d_head, shape.rope_base, context.statistics());
  projections_ = {.name = context.prefix + "projections", .bucket = context.bucket, .rows = 0, .columns = d};
  add_projection("W_Q.weight", shape.query_width(), 0.02);
  add_projection("W_K.weight", shape.key_width(), 0.02);
  add_projection("W_V.weight", shape.value_width(), 0.02);
  output_ = {
      .name = context.prefix + "W_O", .bucket = context.bucket, .rows = d, .columns = shape.output_width()};
  output_.blocks = {{context.prefix + "W_O.weight", {d, shape.output_width()}, 0, common::normal(0.02)}};
}

int64_t AttentionMixer::add_projection(const std::string& name, int64_t num_rows, double standard_deviation) {
  const int64_t row = projections_.rows;
  projections_.blocks.push_back(
      {context_.prefix + name, {num_rows, projections_.columns}, row, common::normal(standard_deviation)});
  projections_.rows += num_rows;
  return row;
}

void AttentionMixer::pad_projections() {
  projections_.rows = context_.padded(projections_.rows);
}

AttentionMixer::Heads AttentionMixer::project(const at::Tensor& x,
                                              const std::vector<int64_t>& first_positions) {
  const int64_t q = shape_.query_width(), k = shape_.key_width(), v = shape_.value_width();
  const at::Tensor qkv = linear(x, projections_, 0, q + k + v, x.scalar_type());
  const auto turned = [&](const at::Tensor& channels, int64_t num_heads) {
    const at::Tensor heads = split_heads(channels, num_heads);
    return rope_ ? (*rope_)(heads, first_positions) : heads.to(context_.statistics());
  };
  return {turned(qkv.narrow(-1, 0, q), shape_.num_heads), turned(qkv.narrow(-1, q, k), shape_.num_kv_heads),
          split_heads(qkv.narrow(-1, q + k, v), shape_.num_kv_heads)};
}

void AttentionMixer::finish(Heads& heads, const Augmentation& more) const {
  at::ScalarType type = context_.compute();
  if (more.query.defined()) {
    type = more.query.scalar_type();
    heads.query = at::cat({heads.query.to(type), more.query}, -1);
    heads.key = at::cat({heads.key.to(type), more.key}, -1);
  }
  for (at::Tensor* x : {&heads.query, &heads.key, &heads.value}) *x = x->to(type);
}

at::ScalarType AttentionMixer::score_type() const {
  return context_.precision == common::Precision::fp32 && projections_.value.is_cpu() ? at::kDouble
                                                                                      : context_.statistics();
}

at::ScalarType AttentionMixer::augmented_type() const {
  const bool rounds = common::is_bf16(context_.precision) &&
                      !(context_.precision == common::Precision::bf16 && projections_.value.is_cpu());
  return rounds ? context_.compute() : score_type();
}

std::optional<fused::HeadProjection> AttentionMixer::head_projection() {
  if (head_transform()) return std::nullopt;
  ScoreAugmentation* augments = augmentation();
  const fused::StateChannels* state = augments ? augments->state_channels() : nullptr;
  if (augments && !state) return std::nullopt;
  const int64_t end = shape_.query_width() + shape_.key_width() + shape_.value_width() +
                      (state ? 2 * shape_.num_heads * state->d_state : 0);
  const bool has_gates = state && (state->num_angles > 0 || state->alpha_bias);
  return fused::HeadProjection{shape_, end, has_gates ? projections_.rows : end, state};
}

fused::Service AttentionMixer::service(const at::Tensor& x,
                                       const std::optional<fused::HeadProjection>& projection) const {
  return projection ? fused::service(x, projections_, *projection) : fused::Service::none;
}

at::Tensor AttentionMixer::mix(const at::Tensor& x) {
  ScoreAugmentation* augments = augmentation();
  const std::optional<fused::HeadProjection> projection = head_projection();
  const fused::Service service = this->service(x, projection);
  if (service == fused::Service::none) {
    HeadTransform* transform = head_transform();
    Heads heads = project(x);
    if (transform) transform->before_attention(x, heads, nullptr);
    finish(heads, augments ? augments->augment(x) : Augmentation{});
    const at::Tensor output = attention(heads.query, heads.key, heads.value, shape_);
    return (transform ? transform->after_attention(x, output) : output).flatten(2);
  }
  const auto [cosine, sine] = rope_->tables(x.size(1), x.device());
  const auto count = [&](const at::Tensor& num_limited) {
    if (augments) augments->count_limited(num_limited);
  };
  if (service == fused::Service::attention) {
    const fused::Output attended = fused::attention(x, projections_, *projection, cosine, sine);
    count(attended.num_limited);
    return attended.output;
  }
  const fused::Heads heads = fused::heads(x, projections_, *projection, cosine, sine);
  count(heads.num_limited);
  return attention(heads.query, heads.key, heads.value, shape_).flatten(2);
}

at::Tensor AttentionMixer::forward(const at::Tensor& x) {
  return linear(mix(x).to(x.scalar_type()), output_);
}

std::vector<std::string> AttentionMixer::left_to_libtorch(const at::Tensor& x) {
  switch (service(x, head_projection())) {
    case fused::Service::none:
      return {"heads", "attention"};
    case fused::Service::heads:
      return {"attention"};
    case fused::Service::attention:
      break;
  }
  return {};
}

at::Tensor AttentionMixer::extend(const at::Tensor& x, MixerCache& mixer_cache) {
  auto& cache = dynamic_cast<AttentionCache&>(mixer_cache);
  Heads heads = project(x, cache.next_positions(x.size(0)));
  HeadTransform* transform = head_transform();
  if (transform) transform->before_attention(x, heads, &cache.states);
  ScoreAugmentation* augments = augmentation();
  const auto more = augments ? augments->continue_augmentation(x, cache)
                             : ScoreAugmentation::Continuation{{}, {{0, x.size(1), {}}}};
  finish(heads, more.channels);
  std::vector<at::Tensor> mixed;
  for (const Segment& segment : more.segments) {
    const auto part = [&](const at::Tensor& all) {
      return all.narrow(1, segment.begin, segment.end - segment.begin);
    };
    if (segment.rescale.defined()) augments->move_offset(cache, segment.rescale);
    cache.append(part(heads.key), part(heads.value));
    mixed.push_back(cache.attend(part(heads.query)));
  }
  at::Tensor output = mixed.size() == 1 ? mixed.front() : at::cat(mixed, 1);
  if (transform) output = transform->after_attention(x, output);
  return linear(output.flatten(2).to(x.scalar_type()), output_);
}

MixerCosts AttentionMixer::costs(int64_t length) const {
  return costs(length, {});
}

// Bytes in the order in which fused::attention works, from the norm before it to the projection after it.
MixerCosts AttentionMixer::costs(int64_t length, const StateSizes& state) const {
  const auto d = static_cast<double>(context_.config.d_model),
             qkv = static_cast<double>(shape_.query_width() + shape_.key_width() + shape_.value_width());
  const double gates = state.angles + state.alphas,
               phases_and_decays = fp32_bytes * state.angles + fp64_bytes * state.alphas;
  MixerCosts all = attention_costs(shape_, length, state.channels);
  Traffic& sum = all.activations;
  sum += product_traffic(d, qkv + 2 * state.channels);
  // Gates are a product of their own forward; backward their columns are among those of the others.
  if (gates > 0) sum += {bf16_bytes * d + fp32_bytes * gates, bf16_bytes * 2 * gates};
  // scan_gates: reads gates, writes phases and decays. Backward: reads the gradients' sums and the alphas,
  // writes the gates' gradients.
  sum += {fp32_bytes * gates + phases_and_decays, fp32_bytes * (gates + state.alphas) + bf16_bytes * gates};
  // channels also reads phases and decays. Backward: reads these, writes the gates' sums.
  sum += {phases_and_decays, phases_and_decays + fp32_bytes * gates};
  sum += product_traffic(static_cast<double>(shape_.output_width()), d);
  return all;
}

MixerCosts attention_costs(const AttentionShape& shape, int64_t length, double state_channels) {
  const auto heads = static_cast<double>(shape.num_heads), query = static_cast<double>(shape.query_width()),
             key = static_cast<double>(shape.key_width()), value = static_cast<double>(shape.value_width()),
             output = static_cast<double>(shape.output_width()), T = static_cast<double>(length);
  const double channels = state_channels;
  // channels: reads the projections but the value, writes query and key. Backward: reads the gradients of
  // query and of the key's state channels in fp32 and that of the key's content, B and C, writes the
  // gradients of the projections and amplitudes.
  Traffic sum{bf16_bytes * 2 * (query + key + 2 * channels),
              fp32_bytes * (query + 2 * channels) + bf16_bytes * key + bf16_bytes * 2 * channels +
                  bf16_bytes * (query + key + 2 * channels) + (channels > 0 ? fp32_bytes * heads : 0)};
  // attention: reads query, key and value, writes output and logsumexp. Backward: reads the output and its
  // gradient, writes their products; then reads query, key, value, the output's gradient, logsumexp and
  // products, and writes the gradients named above and that of the value.
  sum += {bf16_bytes * (query + key + 2 * channels + value) + bf16_bytes * output + fp32_bytes * heads,
          bf16_bytes * 2 * output + fp32_bytes * heads +
              bf16_bytes * (query + key + 2 * channels + value + output) + fp32_bytes * 2 * heads +
              fp32_bytes * (query + 2 * channels) + bf16_bytes * (key + value)};
  return {
      .flops = 2 * (query + output + channels) * shape.mean_seen(length),
      .usual_flops = 12 * query * T,
      .activations = sum,
      .cache_bytes = bf16_bytes * (key + value + channels) * static_cast<double>(shape.num_kept(length)) / T};
}

Key num_heads_key() {
  return {.name = "num_heads",
          .type = Key::Type::whole,
          .default_value = int64_t{12},
          .low = common::from(1),
          .high = common::to(1024),
          .doc = "heads, each d_model / num_heads wide; an even number where positions are rotary"};
}

Key rope_base_key(double default_value) {
  return {.name = "rope_base",
          .type = Key::Type::real,
          .default_value = default_value,
          .low = common::above(1),
          .high = common::without_end(),
          .doc = "base of the rotary embedding's wavelengths"};
}

AttentionShape multi_head_shape(const ModelConfig& config, double rope_base) {
  const int64_t num_heads = config.whole("num_heads"), d_head = config.d_model / num_heads;
  return {.num_heads = num_heads,
          .num_kv_heads = num_heads,
          .d_head = d_head,
          .d_value = d_head,
          .scale = 1 / std::sqrt(static_cast<double>(d_head)),
          .rope_base = rope_base};
}

void validate_head_count(const ModelConfig& c) {
  const int64_t num_heads = c.whole("num_heads");
  if (c.d_model % num_heads != 0)
    throw ConfigError(
        {"d_model", "num_heads"},
        fmt::format(
            "model.d_model is {}, which model.num_heads = {} does not divide. Choose a width that is a "
            "multiple of the heads.",
            c.d_model, num_heads));
}

void validate_heads(const ModelConfig& c) {
  validate_head_count(c);
  const int64_t num_heads = c.whole("num_heads");
  if (c.d_model / num_heads % 2 != 0)
    throw ConfigError(
        {"d_model", "num_heads"},
        fmt::format("A head is {} channels wide (model.d_model {} / model.num_heads {}), but rotary "
                    "positions turn pairs: it must be even.",
                    c.d_model / num_heads, c.d_model, num_heads));
}

}  // namespace sisa::model
