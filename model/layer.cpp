#include "model/layer.h"

#include <ATen/TensorOperators.h>

#include "model/mixers/registry.h"
#include "model/operations/functional.h"
#include "model/parameters.h"

namespace sisa::model {

Layer::Layer(const LayerContext& context)
    : statistics_(context.statistics()), mixer_(find_system(context.config.system).make_mixer(context)) {
  const std::string& prefix = context.prefix;
  mixer_norm_ = make_norm(prefix + mixer_->norm_name() + ".weight", context.bucket, context.config.d_model);
  if (context.config.d_ff == 0 || !mixer_->has_feed_forward()) return;
  d_ff_ = context.padded(context.config.d_ff);
  const int64_t d = context.config.d_model, logical = context.config.d_ff;
  const auto initial = common::normal(0.02);
  swiglu_norm_ = make_norm(prefix + "ffn_norm.weight", context.bucket, d);
  gate_up_ = {.name = prefix + "ffn.gate_up", .bucket = context.bucket, .rows = 2 * d_ff_, .columns = d};
  gate_up_.blocks = {{prefix + "ffn.w_gate.weight", {logical, d}, 0, initial},
                     {prefix + "ffn.w_up.weight", {logical, d}, d_ff_, initial}};
  down_ = {.name = prefix + "ffn.w_down", .bucket = context.bucket, .rows = d, .columns = d_ff_};
  down_.blocks = {{prefix + "ffn.w_down.weight", {d, logical}, 0, initial}};
}

std::vector<common::Parameter*> Layer::parameters() {
  std::vector<common::Parameter*> all = mixer_->parameters();
  all.push_back(&mixer_norm_);
  if (d_ff_ > 0) all.insert(all.end(), {&gate_up_, &down_, &swiglu_norm_});
  return all;
}

Normed Layer::mixer_input(const Stream& stream) {
  return add_rms_norm(stream.x, stream.delta, mixer_norm_, block_norm_epsilon, statistics_);
}

Stream Layer::with_swiglu(const Stream& stream) {
  if (d_ff_ == 0) return stream;
  const auto [x, normed] =
      add_rms_norm(stream.x, stream.delta, swiglu_norm_, block_norm_epsilon, statistics_);
  return {x, linear(swiglu(linear(normed, gate_up_)), down_)};
}

Stream Layer::forward(const Stream& stream) {
  const auto [x, normed] = mixer_input(stream);
  return with_swiglu({x, mixer_->forward(normed)});
}

at::Tensor Layer::extend(const at::Tensor& x, MixerCache& cache) {
  return with_swiglu({x, mixer_->extend(mixer_input({x, {}}).normed, cache)}).value();
}

at::Tensor Layer::evaluate(const at::Tensor& x) {
  const std::unique_ptr<MixerCache> cache = mixer_->make_cache();
  return cache ? extend(x, *cache) : forward({x, {}}).value();
}

std::vector<Reading> Layer::read(const at::Tensor& x) {
  return mixer_->read(mixer_input({x, {}}).normed);
}

}  // namespace sisa::model
