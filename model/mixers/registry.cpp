#include "model/mixers/registry.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

#include "common/text.h"
#include "model/mixers/falcon_h1.h"
#include "model/mixers/fox.h"
#include "model/mixers/hymba.h"
#include "model/mixers/jamba.h"
#include "model/mixers/mamba2.h"
#include "model/mixers/mamba3.h"
#include "model/mixers/sisa.h"
#include "model/mixers/transformer.h"

namespace sisa::model {
namespace {

std::deque<System>& table() {
  static std::deque<System> rows = {transformer_system(), sisa_system(),   fox_system(),
                                    fox_pro_system(),     mamba2_system(), mamba3_system(),
                                    jamba_system(),       hymba_system(),  falcon_h1_system()};
  return rows;
}

// "above 0 and at most 80"
std::string range(const common::Bound& low, const common::Bound& high) {
  std::string text = fmt::format("{} {}", low.included ? "at least" : "above", low.value);
  if (high.included || std::isfinite(high.value))
    text += fmt::format(" and {} {}", high.included ? "at most" : "below", high.value);
  return text;
}

void check_value(const Key& key, const Setting& value) {
  const auto refuse = [&](const auto& shown, const std::string& expected) {
    throw ConfigError({key.name},
                      fmt::format("model.{} is {}; it must be {} ({}).", key.name, shown, expected, key.doc));
  };
  const auto check_range = [&](double number, const auto& shown) {
    if (!common::within(number, key.low, key.high)) refuse(shown, range(key.low, key.high));
  };
  if (value.index() != key.default_value.index())
    throw ConfigError({key.name},
                      fmt::format("model.{} must be {}.", key.name,
                                  key.type == Key::Type::whole    ? "a whole number"
                                  : key.type == Key::Type::real   ? "a number"
                                  : key.type == Key::Type::layers ? "a list of layers"
                                                                  : common::join_choices(key.choices)));
  switch (key.type) {
    case Key::Type::whole:
      return check_range(static_cast<double>(std::get<int64_t>(value)), std::get<int64_t>(value));
    case Key::Type::real:
      return check_range(std::get<double>(value), std::get<double>(value));
    case Key::Type::choice: {
      const std::string& text = std::get<std::string>(value);
      if (std::find(key.choices.begin(), key.choices.end(), text) == key.choices.end())
        refuse(fmt::format("'{}'", text), common::join_choices(key.choices));
      return;
    }
    case Key::Type::layers:
      for (const int64_t layer : std::get<std::vector<int64_t>>(value))
        check_range(static_cast<double>(layer), layer);
  }
}

void check_sizes(const ModelConfig& c) {
  struct Size {
    const char* key;
    int64_t value, smallest;
  };
  for (const Size& size : {Size{"vocab_size", c.vocab_size, 1}, Size{"d_model", c.d_model, 1},
                           Size{"num_layers", c.num_layers, 1}, Size{"d_ff", c.d_ff, 0}})
    if (size.value < size.smallest)
      throw ConfigError({size.key}, fmt::format("model.{} is {}; it must be at least {}.", size.key,
                                                size.value, size.smallest));
}

}  // namespace

const Key* System::find_key(const std::string& key) const {
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const Key& k) { return k.name == key; });
  return found == keys.end() ? nullptr : &*found;
}

const std::deque<System>& systems() {
  return table();
}

std::vector<std::string> system_names() {
  std::vector<std::string> names;
  for (const System& system : systems()) names.push_back(system.name);
  return names;
}

const System& find_system(const std::string& name) {
  for (const System& system : systems())
    if (system.name == name) return system;
  const std::vector<std::string> names = system_names();
  const std::string near = common::nearest(name, names);
  throw ConfigError({"system"},
                    fmt::format("model.system is '{}'; there are {}.{}", name, common::join_choices(names),
                                near.empty() ? "" : fmt::format(" Did you mean '{}'?", near)));
}

bool add_system(System system) {
  TORCH_INTERNAL_ASSERT(system.make_mixer, "the system ", system.name, " makes no mixer");
  for (const System& other : table())
    TORCH_INTERNAL_ASSERT(other.name != system.name, "there are two systems ", system.name);
  table().push_back(std::move(system));
  return true;
}

ModelConfig completed(ModelConfig config) {
  const System& system = find_system(config.system);
  if (!system.has_feed_forward) config.d_ff = 0;
  check_sizes(config);
  for (auto& [name, value] : config.settings) {
    const Key* key = system.find_key(name);
    if (!key)
      throw ConfigError({name}, fmt::format("model.{} has no meaning for the system {}.", name, system.name));
    if (key->type == Key::Type::real && std::holds_alternative<int64_t>(value))
      value = static_cast<double>(std::get<int64_t>(value));
    check_value(*key, value);
  }
  for (const Key& key : system.keys) config.settings.emplace(key.name, key.default_value);
  for (const LearningRate& rate : system.learning_rates)
    config.rate_factors.emplace(rate.name, 1 / rate.divisor);
  if (system.complete) system.complete(config);
  if (system.validate) system.validate(config);
  return config;
}

bool has_meaning(const Key& key, const ModelConfig& config) {
  if (!find_system(config.system).find_key(key.name)) return false;
  return !key.only_with || config.choice(key.only_with->key) == key.only_with->value;
}

}  // namespace sisa::model
