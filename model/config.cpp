#include "model/config.h"

#include <c10/util/Exception.h>

#include <algorithm>

namespace sisa::model {
namespace {

template <typename T>
const T& setting(const ModelConfig& config, const std::string& key) {
  const auto found = config.settings.find(key);
  TORCH_INTERNAL_ASSERT(found != config.settings.end(), "the system ", config.system, " has no key ", key);
  const T* value = std::get_if<T>(&found->second);
  TORCH_INTERNAL_ASSERT(value, "the key ", key, " of the system ", config.system, " is of another type");
  return *value;
}

}  // namespace

int64_t ModelConfig::whole(const std::string& key) const {
  return setting<int64_t>(*this, key);
}
double ModelConfig::real(const std::string& key) const {
  return setting<double>(*this, key);
}
const std::string& ModelConfig::choice(const std::string& key) const {
  return setting<std::string>(*this, key);
}
const std::vector<int64_t>& ModelConfig::layers(const std::string& key) const {
  return setting<std::vector<int64_t>>(*this, key);
}
bool ModelConfig::lists(const std::string& key, int64_t layer) const {
  const std::vector<int64_t>& all = layers(key);
  return std::find(all.begin(), all.end(), layer) != all.end();
}

}  // namespace sisa::model
