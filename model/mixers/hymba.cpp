#include "model/mixers/hymba.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/mixers/grouped_query.h"
#include "model/mixers/layer_list.h"
#include "model/mixers/mamba2.h"
#include "model/mixers/state_space_keys.h"
#include "model/operations/attention.h"
#include "model/operations/functional.h"
#include "model/operations/rope.h"
#include "model/parameters.h"

namespace sisa::model {
namespace {

constexpr double branch_norm_epsilon = 1e-6;

// Query and key heads are d_model / num_heads wide; value heads are such that both branches give d_inner
// channels.
AttentionShape shape_of(const LayerContext& context) {
  const ModelConfig& c = context.config;
  AttentionShape shape = grouped_query_shape(c, c.real("rope_base"));
  shape.d_value = c.whole("d_inner") / shape.num_heads;
  shape.prefix = c.whole("num_meta_tokens");
  if (!c.lists("full_attention_layers", context.index)) shape.window = c.whole("window");
  return shape;
}

class Hymba final : public Mixer {
 public:
  explicit Hymba(const LayerContext& context)
      : context_(context),
        shape_(shape_of(context)),
        rope_(shape_.d_head, shape_.rope_base, context.statistics()),
        core_(context, context.prefix) {
    const int64_t d = context.config.d_model, rows = core_row() + core_.projected(), inner = core_.d_inner();
    in_ = make_matrix(context.prefix + "in_proj.weight", context.bucket, rows, d, context.padded(rows),
                      projection_init(context.config, d));
    attention_norm_ = make_norm(context.prefix + "attention_norm.weight", context.bucket, inner);
    mamba_norm_ = make_norm(context.prefix + "mamba_norm.weight", context.bucket, inner);
    out_ = make_matrix(context.prefix + "out_proj.weight", context.bucket, d, inner, d,
                       projection_init(context.config, inner));
  }

  std::vector<common::Parameter*> parameters() override {
    std::vector<common::Parameter*> all = core_.parameters();
    all.insert(all.begin(), &in_);
    all.insert(all.end(), {&attention_norm_, &mamba_norm_, &out_});
    return all;
  }
  std::string norm_name() const override { return "norm"; }
  std::vector<std::string> left_to_libtorch(const at::Tensor&) override {
    return {"heads", "attention", "state space"};
  }

  at::Tensor forward(const at::Tensor& x) override {
    const AttentionHeads heads = project(x, {});
    return join(x, attention(heads.query, heads.key, heads.value, shape_),
                core_(x, in_, core_row(), nullptr));
  }
  std::unique_ptr<MixerCache> make_cache() const override { return std::make_unique<AttentionCache>(shape_); }
  at::Tensor extend(const at::Tensor& x, MixerCache& mixer_cache) override {
    auto& cache = dynamic_cast<AttentionCache&>(mixer_cache);
    const AttentionHeads heads = project(x, cache.next_positions(x.size(0)));
    cache.append(heads.key, heads.value);
    const at::Tensor attended = cache.attend(heads.query);
    return join(x, attended, core_(x, in_, core_row(), &cache.states));
  }

  MixerCosts costs(int64_t length) const override {
    const auto d = static_cast<double>(in_.columns), inner = static_cast<double>(core_.d_inner());
    MixerCosts sum = attention_costs(shape_, length);
    sum += core_.costs(length);
    sum.activations += product_traffic(d, static_cast<double>(core_row() + core_.projected()));
    // The fusion reads attention's output and writes the mean of the norms; the other norm is part of the
    // gate's pass. Backward it reads both and the gradient and writes two.
    sum.activations += {bf16_bytes * 2 * inner, bf16_bytes * 5 * inner};
    sum.activations += product_traffic(inner, d);
    return sum;
  }

  std::vector<Reading> read(const at::Tensor& x) override { return core_.read(x, in_, core_row()); }

 private:
  // The first row of the projection that the state-space heads read: those of attention come before.
  int64_t core_row() const { return shape_.query_width() + shape_.key_width() + shape_.value_width(); }

  AttentionHeads project(const at::Tensor& x, const std::vector<int64_t>& first_positions) {
    const int64_t q = shape_.query_width(), k = shape_.key_width(), v = shape_.value_width();
    const at::Tensor qkv = linear(x, in_, 0, q + k + v, x.scalar_type());
    const auto heads = [&](int64_t first, int64_t width, int64_t count) {
      return qkv.narrow(-1, first, width).unflatten(-1, {count, -1});
    };
    const auto turned = [&](const at::Tensor& all) {
      return rope_(all, first_positions).to(x.scalar_type());
    };
    return {turned(heads(0, q, shape_.num_heads)), turned(heads(q, k, shape_.num_kv_heads)),
            heads(q + k, v, shape_.num_kv_heads)};
  }

  // The mean of both branches' norms, projected. attended (B, T, H, d_value), mixed (B, T, d_inner).
  at::Tensor join(const at::Tensor& x, const at::Tensor& attended, const at::Tensor& mixed) {
    const at::ScalarType statistics = context_.statistics();
    const at::Tensor both =
        rms_norm(attended.flatten(2).to(statistics), attention_norm_, branch_norm_epsilon, statistics) +
        rms_norm(mixed, mamba_norm_, branch_norm_epsilon, statistics);
    return linear((both / 2).to(x.scalar_type()), out_);
  }

  LayerContext context_;
  AttentionShape shape_;
  Rope rope_;
  Mamba2Core core_;
  common::Parameter in_;                           // [q k v z x B C dt] (rows, d_model)
  common::Parameter attention_norm_, mamba_norm_;  // (d_inner)
  common::Parameter out_;                          // (d_model, d_inner)
};

common::Parameter make_meta_tokens(const ModelConfig& config) {
  const int64_t count = config.whole("num_meta_tokens");
  return make_matrix("meta_tokens", "embedding", count, config.d_model, count, common::normal(0.02));
}

std::vector<Key> hymba_keys() {
  std::vector<Key> keys = {
      num_heads_key(),
      num_kv_heads_key(),
      rope_base_key(),
      {.name = "num_meta_tokens",
       .type = Key::Type::whole,
       .default_value = int64_t{128},
       .low = common::from(0),
       .high = common::to(65536),
       .doc = "learned vectors before every sequence, which every token sees"},
      {.name = "window",
       .type = Key::Type::whole,
       .default_value = int64_t{1024},
       .low = common::from(1),
       .high = common::to(1 << 24),
       .doc = "tokens that attention sees beside the meta tokens, the token itself among them, where it is "
              "not full"},
      layers_key("full_attention_layers",
                 "layers whose attention sees all; []: the first, the middle and the last"),
  };
  for (const Key& key : mamba2_keys("normal")) keys.push_back(key);
  return keys;
}

// The first, the middle and the last.
std::vector<int64_t> usual_layers(int64_t num_layers) {
  std::vector<int64_t> layers = {0, (num_layers - 1) / 2, num_layers - 1};
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

void validate_hymba(const ModelConfig& c) {
  validate_heads(c);
  validate_kv_heads(c);
  validate_state_space(c);
  validate_layers(c, "full_attention_layers");
  const int64_t d_inner = c.whole("d_inner"), num_heads = c.whole("num_heads");
  if (d_inner % num_heads != 0)
    throw ConfigError(
        {"d_inner", "num_heads"},
        fmt::format("Attention's values have model.d_inner = {} channels, which model.num_heads = {} "
                    "does not divide. Choose a multiple of the heads.",
                    d_inner, num_heads));
}

}  // namespace

System hymba_system() {
  return {.name = "hymba",
          .doc = "attention and Mamba-2 heads side by side in each layer, behind learned meta tokens",
          .keys = hymba_keys(),
          .readings = mamba2_readings,
          .complete =
              [](ModelConfig& config) {
                complete_d_inner(config, 2, 1);
                complete_num_kv_heads(config, 4);
                complete_layers(config, "full_attention_layers", usual_layers(config.num_layers));
              },
          .validate = validate_hymba,
          .make_mixer = make_mixer<Hymba>,
          .make_prefix = make_meta_tokens};
}

}  // namespace sisa::model
