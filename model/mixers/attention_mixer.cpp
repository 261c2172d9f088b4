#include "model/mixers/attention_mixer.h"

#include <ATen/ops/cat.h>

#include <cmath>

#include "model/operations/attention.h"
#include "model/operations/functional.h"

namespace sisa::model {

AttentionMixer::AttentionMixer(const LayerContext& context)
    : context_(context), rope_(context.config.d_head(), context.config.rope_base, context.statistics()) {
  const int64_t d = context.config.d_model;
  projections_ = {.name = context.prefix + "projections", .bucket = context.bucket, .rows = 0, .columns = d};
  for (const char* name : {"W_Q.weight", "W_K.weight", "W_V.weight"}) add_projection(name, d, 0.02);
  output_ = {.name = context.prefix + "W_O", .bucket = context.bucket, .rows = d, .columns = d};
  output_.blocks = {{context.prefix + "W_O.weight", {d, d}, 0, common::normal(0.02)}};
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
  const int64_t d = context_.config.d_model;
  const at::Tensor qkv = linear(x, projections_, 0, 3 * d, x.scalar_type());  // (B, T, 3 d)
  return {rope_(split_heads(qkv.narrow(-1, 0, d)), first_positions),
          rope_(split_heads(qkv.narrow(-1, d, d)), first_positions), split_heads(qkv.narrow(-1, 2 * d, d))};
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

double AttentionMixer::scale() const {
  return 1 / std::sqrt(static_cast<double>(context_.config.d_head()));
}

fused::Projection AttentionMixer::fused_rows() {
  const ModelConfig& c = context_.config;
  const fused::StateChannels* state = state_channels();
  const int64_t end = 3 * c.d_model + (state ? 2 * c.num_heads * c.d_state : 0);
  return {end, state && (state->num_angles > 0 || state->alpha_bias) ? projections_.rows : end};
}

at::Tensor AttentionMixer::mix(const at::Tensor& x) {
  const ModelConfig& c = context_.config;
  const fused::Projection rows = fused_rows();
  if (!fused::heads_usable(x, projections_, c, rows)) {
    Heads heads = project(x);
    finish(heads, augment(x));
    return attention(heads.query, heads.key, heads.value, scale()).flatten(2);
  }
  const auto [cosine, sine] = rope_.tables(x.size(1), x.device());
  if (fused::attention_usable(x, projections_, c, rows)) {
    const fused::Attended attended =
        fused::attention(x, projections_, c, rows, cosine, sine, state_channels());
    count_limited(attended.num_limited);
    return attended.output;
  }
  const fused::Heads heads = fused::heads(x, projections_, c, rows, cosine, sine, state_channels());
  count_limited(heads.num_limited);
  return attention(heads.query, heads.key, heads.value, scale()).flatten(2);
}

at::Tensor AttentionMixer::forward(const at::Tensor& x) {
  return linear(mix(x).to(x.scalar_type()), output_);
}

std::vector<std::string> AttentionMixer::left_to_libtorch(const at::Tensor& x) {
  const fused::Projection rows = fused_rows();
  if (!fused::heads_usable(x, projections_, context_.config, rows)) return {"heads", "attention"};
  if (!fused::attention_usable(x, projections_, context_.config, rows)) return {"attention"};
  return {};
}

at::Tensor AttentionMixer::extend(const at::Tensor& x, MixerCache& mixer_cache) {
  auto& cache = dynamic_cast<AttentionCache&>(mixer_cache);
  std::vector<int64_t> first_positions;
  for (int64_t b = 0; b < x.size(0); ++b) first_positions.push_back(cache.length(b));
  Heads heads = project(x, first_positions);
  const Continuation more = continue_augmentation(x, cache);
  finish(heads, more.channels);
  std::vector<at::Tensor> mixed;
  for (const Segment& segment : more.segments) {
    const auto part = [&](const at::Tensor& all) {
      return all.narrow(1, segment.begin, segment.end - segment.begin);
    };
    if (segment.rescale.defined()) cache.scale_keys(context_.config.d_head(), segment.rescale);
    cache.append(part(heads.key), part(heads.value));
    mixed.push_back(cache.attend(part(heads.query), scale()));
  }
  return linear((mixed.size() == 1 ? mixed.front() : at::cat(mixed, 1)).flatten(2).to(x.scalar_type()),
                output_);
}

}  // namespace sisa::model
