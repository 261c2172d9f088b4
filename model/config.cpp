#include "model/config.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "common/quantity.h"
#include "model/language_model.h"
#include "model/mixers/registry.h"

namespace sisa::model {

void validate(const ModelConfig& c) {
  const System& system = find_system(c.system);
  struct Size {
    const char* key;
    int64_t value, smallest;
  };
  for (const Size& size : {Size{"vocab_size", c.vocab_size, 1}, Size{"d_model", c.d_model, 1},
                           Size{"num_layers", c.num_layers, 1}, Size{"d_ff", c.d_ff, 0}})
    if (size.value < size.smallest)
      throw Error("model.{} is {}; it must be at least {}.", size.key, size.value, size.smallest);
  system.validate(c);
}

int64_t ModelConfig::num_segments() const {
  constexpr int64_t widest_query = 192;
  return max_segments > 0 ? max_segments : std::max<int64_t>(1, (widest_query - d_head()) / d_state);
}

int64_t num_parameters(const ModelConfig& config) {
  LanguageModel model(config, common::Precision::fp32, 1);
  return common::count_elements(model.parameters());
}

int64_t match_d_ff(ModelConfig config, int64_t target) {
  config.d_ff = 1;
  const int64_t one = num_parameters(config);
  config.d_ff = 2;
  const int64_t each = num_parameters(config) - one;  // the count is linear in d_ff from 1 on
  const auto d_ff =
      1 + static_cast<int64_t>(std::llround(static_cast<double>(target - one) / static_cast<double>(each)));
  if (d_ff < 1)
    throw Error(
        "No model.d_ff gives {} parameters: already d_ff = 1 has {}. Ask for more parameters, or make the "
        "model smaller.",
        common::format_count(target), common::format_count(one));
  return d_ff;
}

}  // namespace sisa::model
