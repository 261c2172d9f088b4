#include "model/mixers/jamba.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "model/mixers/grouped_query.h"
#include "model/mixers/layer_list.h"
#include "model/mixers/mamba2.h"
#include "model/mixers/state_space_keys.h"

namespace sisa::model {
namespace {

std::unique_ptr<Mixer> make_jamba_mixer(const LayerContext& context) {
  if (context.config.lists("attention_layers", context.index))
    return std::make_unique<GroupedQueryAttention>(context, context.prefix + "attention.",
                                                   grouped_query_shape(context.config, /*rope_base=*/0));
  return std::make_unique<Mamba2>(context);
}

std::vector<Key> jamba_keys() {
  std::vector<Key> keys = {
      num_heads_key(), num_kv_heads_key(),
      layers_key("attention_layers", "layers with attention; []: those with i mod 8 = 4")};
  for (const Key& key : mamba2_keys("normal")) keys.push_back(key);
  return keys;
}

// One layer in eight, the fifth.
std::vector<int64_t> usual_layers(int64_t num_layers) {
  std::vector<int64_t> layers;
  for (int64_t i = 4; i < num_layers; i += 8) layers.push_back(i);
  return layers;
}

}  // namespace

System jamba_system() {
  return {.name = "jamba",
          .doc = "Mamba-2 layers, and attention without positions in every eighth; dense",
          .keys = jamba_keys(),
          .readings = mamba2_readings,
          .complete =
              [](ModelConfig& config) {
                complete_d_inner(config, 2, 1);
                complete_num_kv_heads(config, 1);
                complete_layers(config, "attention_layers", usual_layers(config.num_layers));
              },
          .validate =
              [](const ModelConfig& config) {
                validate_head_count(config);
                validate_kv_heads(config);
                validate_state_space(config);
                validate_layers(config, "attention_layers");
              },
          .make_mixer = make_jamba_mixer};
}

}  // namespace sisa::model
