// A system: one way of mixing the tokens of a sequence, with all that the rest of the program needs to know of
// it. Each has a file under mixers/ and a row in mixers/registry.cpp; nothing outside its own files names it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/bound.h"
#include "common/parameter.h"
#include "model/config.h"

namespace sisa::model {

class Mixer;
struct LayerContext;

// A key of a recipe's `model:` section that a system reads. Systems that share a key take it from one function,
// so that it means the same everywhere; only its default may differ.
struct Key {
  enum class Type { whole, real, choice, layers };
  std::string name;
  Type type;
  Setting default_value;
  common::Bound low = {}, high = {};      // of numbers; of the layers in a list
  std::vector<std::string> choices = {};  // of a choice
  std::string doc;                        // one line: meaning, unit, reason of the bounds
  // The choice of another key without which this one has no meaning; none: it always has one.
  struct Choice {
    std::string key, value;
  };
  std::optional<Choice> only_with = {};
  bool exported =
      true;  // whether it decides what a trained network computes, so that an exported one needs it
};

// A learning rate of the system's own, as a key of a recipe's `optimizer:` section.
struct LearningRate {
  std::string name;
  double divisor;   // default: optimizer.learning_rate divided by this
  std::string doc;  // of which parameters
};

struct System {
  std::string name;
  std::string doc;  // one line: how a layer mixes tokens
  std::vector<Key> keys = {};
  std::vector<LearningRate> learning_rates = {};
  // What Mixer::read says of the system's layers, for people; "": nothing.
  std::string readings = {};
  // Whether model.d_ff has a meaning: some layers have a SwiGLU (Mixer::has_feed_forward). Otherwise it is 0.
  bool has_feed_forward = true;
  // Replaces values that stand for what follows from others, such as 0 for twice d_model, by what they stand
  // for. The config has a value for each key. Null: there are none.
  void (*complete)(ModelConfig&) = nullptr;
  // Throws ConfigError on a combination of values that this system cannot have. Each value by itself is within
  // its key's bounds already. Null: there is none.
  void (*validate)(const ModelConfig&) = nullptr;
  std::unique_ptr<Mixer> (*make_mixer)(const LayerContext&) = nullptr;
  // Learned vectors that stand before every sequence in every layer, (number, d_model); null: none.
  common::Parameter (*make_prefix)(const ModelConfig&) = nullptr;

  const Key* find_key(const std::string& key) const;  // null: the system does not read it
};

}  // namespace sisa::model
