// What defines a network. Keys are those of the golden files' `config` and of a recipe's `model:` section.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "common/error.h"

namespace sisa::model {

// A value of one of a system's own keys: a whole number, a number, one of several choices, or layers by their
// numbers, which begin with 0.
using Setting = std::variant<int64_t, double, std::string, std::vector<int64_t>>;

struct ModelConfig {
  // What every network has.
  std::string system = "sisa";  // a name of mixers/registry.h
  int64_t vocab_size = 50277;
  int64_t d_model = 768;
  int64_t num_layers = 12;
  int64_t d_ff = 2908;  // SwiGLU width; 0: no SwiGLU

  // The keys that the system declares (system.h). Those that are not given have the system's defaults once
  // `completed` (mixers/registry.h) has seen the config, as every network's own config has been.
  std::map<std::string, Setting> settings;
  // For each learning rate that the system declares, by its name: the factor on the optimizer's learning rate
  // for the parameters in question. A factor that is absent has the system's default.
  std::map<std::string, double> rate_factors;

  // A setting of a completed config; an internal error if the system declares no such key of that type.
  int64_t whole(const std::string& key) const;
  double real(const std::string& key) const;
  const std::string& choice(const std::string& key) const;
  const std::vector<int64_t>& layers(const std::string& key) const;
  // Whether the layer with this number is among them.
  bool lists(const std::string& key, int64_t layer) const;
  // An internal error if it is absent.
  double rate_factor(const std::string& name) const { return rate_factors.at(name); }
};

// A value that makes no network. `keys`, of the section `model`, are those that the text is about.
class ConfigError : public Error {
 public:
  ConfigError(std::vector<std::string> keys, const std::string& text) : Error(text), keys_(std::move(keys)) {}
  const std::vector<std::string>& keys() const { return keys_; }

 private:
  std::vector<std::string> keys_;
};

}  // namespace sisa::model
