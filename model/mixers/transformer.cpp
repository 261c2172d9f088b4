#include "model/mixers/transformer.h"

#include <ATen/ops/cat.h>

#include <cmath>

#include "common/error.h"
#include "model/attention.h"
#include "model/functional.h"

namespace sisa::model {

void validate_transformer(const ModelConfig& c) {
  if (c.num_heads < 1) throw Error("model.num_heads is {}; it must be at least 1.", c.num_heads);
  if (c.d_model % c.num_heads != 0)
    throw Error(
        "model.d_model is {}, which model.num_heads = {} does not divide. Choose a width that is a multiple "
        "of the heads.",
        c.d_model, c.num_heads);
  if (c.d_head() % 2 != 0)
    throw Error(
        "A head is {} channels wide (model.d_model {} / model.num_heads {}), but rotary positions turn "
        "pairs: it must be even.",
        c.d_head(), c.d_model, c.num_heads);
  if (!(c.rope_base > 1)) throw Error("model.rope_base is {}; it must be above 1.", c.rope_base);
}

std::unique_ptr<Mixer> make_transformer(const LayerContext& context) {
  struct Transformer final : AttentionMixer {
    explicit Transformer(const LayerContext& c) : AttentionMixer(c) { pad_projections(); }
  };
  return std::make_unique<Transformer>(context);
}

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

at::Tensor AttentionMixer::forward(const at::Tensor& x) {
  const int64_t d = context_.config.d_model;
  const at::Tensor qkv = linear(x, projections_, 0, 3 * d, x.scalar_type());  // (B, T, 3 d)
  at::Tensor query = rope_(split_heads(qkv.narrow(-1, 0, d)));
  at::Tensor key = rope_(split_heads(qkv.narrow(-1, d, d)));
  const at::Tensor value = split_heads(qkv.narrow(-1, 2 * d, d));
  if (const Augmentation more = augment(x); more.query.defined()) {
    query = at::cat({query, more.query}, -1);
    key = at::cat({key, more.key}, -1);
  }
  const double scale = 1 / std::sqrt(static_cast<double>(context_.config.d_head()));
  const at::Tensor mixed = attention(query.to(context_.compute()), key.to(context_.compute()), value, scale);
  return linear(mixed.flatten(2), output_);
}

}  // namespace sisa::model
