#include "model/mixers/grouped_query.h"

#include <fmt/format.h>

#include <algorithm>

namespace sisa::model {

Key num_kv_heads_key() {
  return {.name = "num_kv_heads",
          .type = Key::Type::whole,
          .default_value = int64_t{0},
          .low = common::from(0),
          .high = common::to(1024),
          .doc =
              "key and value heads, each shared by num_heads / num_kv_heads query heads; 0: as many as "
              "num_heads, with hymba and falcon_h1 a quarter"};
}

void complete_num_kv_heads(ModelConfig& config, int64_t divisor) {
  auto& num_kv_heads = std::get<int64_t>(config.settings.at("num_kv_heads"));
  if (num_kv_heads == 0) num_kv_heads = std::max<int64_t>(1, config.whole("num_heads") / divisor);
}

AttentionShape grouped_query_shape(const ModelConfig& config, double rope_base) {
  AttentionShape shape = multi_head_shape(config, rope_base);
  shape.num_kv_heads = config.whole("num_kv_heads");
  return shape;
}

void validate_kv_heads(const ModelConfig& c) {
  const int64_t num_heads = c.whole("num_heads"), num_kv_heads = c.whole("num_kv_heads");
  if (num_heads % num_kv_heads != 0)
    throw ConfigError(
        {"num_kv_heads", "num_heads"},
        fmt::format("model.num_kv_heads is {}, which does not divide model.num_heads = {}. Choose a "
                    "divisor of it.",
                    num_kv_heads, num_heads));
}

}  // namespace sisa::model
