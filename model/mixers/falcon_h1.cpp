#include "model/mixers/falcon_h1.h"

#include <ATen/TensorOperators.h>

#include <memory>
#include <string>
#include <vector>

#include "model/mixers/grouped_query.h"
#include "model/mixers/mamba2.h"
#include "model/mixers/state_space_keys.h"

namespace sisa::model {
namespace {

class FalconH1 final : public Mixer {
 public:
  explicit FalconH1(const LayerContext& context)
      : attention_(context, context.prefix + "attention.",
                   grouped_query_shape(context.config, context.config.real("rope_base"))),
        mamba_(context),
        width_(context.config.d_model) {}

  std::vector<common::Parameter*> parameters() override {
    std::vector<common::Parameter*> all = attention_.parameters();
    for (common::Parameter* p : mamba_.parameters()) all.push_back(p);
    return all;
  }
  std::string norm_name() const override { return "norm"; }
  at::Tensor forward(const at::Tensor& x) override { return attention_.forward(x) + mamba_.forward(x); }
  std::vector<std::string> left_to_libtorch(const at::Tensor& x) override {
    std::vector<std::string> all = attention_.left_to_libtorch(x);
    for (const std::string& part : mamba_.left_to_libtorch(x)) all.push_back(part);
    return all;
  }
  std::unique_ptr<MixerCache> make_cache() const override { return attention_.make_cache(); }
  at::Tensor extend(const at::Tensor& x, MixerCache& cache) override {
    const at::Tensor attended = attention_.extend(x, cache);
    return attended + mamba_.mix(x, &dynamic_cast<AttentionCache&>(cache).states);
  }
  MixerCosts costs(int64_t length) const override {
    MixerCosts sum = attention_.costs(length);
    sum += mamba_.costs(length);
    const auto d = static_cast<double>(width_);
    sum.activations += {bf16_bytes * 3 * d, 0};  // their sum; its gradient is that of both
    return sum;
  }
  std::vector<Reading> read(const at::Tensor& x) override { return mamba_.read(x); }

 private:
  GroupedQueryAttention attention_;
  Mamba2 mamba_;
  int64_t width_;
};

std::vector<Key> falcon_h1_keys() {
  std::vector<Key> keys = {num_heads_key(), num_kv_heads_key(), rope_base_key(1e11)};
  for (const Key& key : mamba2_keys("normal")) keys.push_back(key);
  return keys;
}

}  // namespace

System falcon_h1_system() {
  return {.name = "falcon_h1",
          .doc = "attention and Mamba-2 in parallel, added",
          .keys = falcon_h1_keys(),
          .readings = mamba2_readings,
          .complete =
              [](ModelConfig& config) {
                complete_d_inner(config, 3, 2);
                complete_num_kv_heads(config, 4);
              },
          .validate =
              [](const ModelConfig& config) {
                validate_heads(config);
                validate_kv_heads(config);
                validate_state_space(config);
              },
          .make_mixer = make_mixer<FalconH1>};
}

}  // namespace sisa::model
