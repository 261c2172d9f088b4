#include "model/mixers/layer_list.h"

#include <fmt/format.h>

#include <algorithm>

namespace sisa::model {

Key layers_key(const std::string& name, const std::string& doc) {
  return {.name = name,
          .type = Key::Type::layers,
          .default_value = std::vector<int64_t>{},
          .low = common::from(0),
          .high = common::to(1023),
          .doc = doc};
}

void complete_layers(ModelConfig& config, const std::string& key, const std::vector<int64_t>& usual) {
  auto& layers = std::get<std::vector<int64_t>>(config.settings.at(key));
  if (layers.empty()) layers = usual;
}

void validate_layers(const ModelConfig& config, const std::string& key) {
  const std::vector<int64_t>& layers = config.layers(key);
  for (auto layer = layers.begin(); layer != layers.end(); ++layer) {
    if (*layer >= config.num_layers)
      throw ConfigError(
          {key, "num_layers"},
          fmt::format("model.{} names layer {}, but with model.num_layers = {} the last one is {}.", key,
                      *layer, config.num_layers, config.num_layers - 1));
    if (std::find(layers.begin(), layer, *layer) != layer)
      throw ConfigError({key},
                        fmt::format("model.{} names layer {} twice. Name each layer once.", key, *layer));
  }
}

}  // namespace sisa::model
