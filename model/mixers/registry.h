// The table of systems: adding one is a file beside this one and a row in registry.cpp.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "model/mixers/mixer.h"

namespace sisa::model {

struct System {
  std::string name;                      // of ModelConfig::system
  std::string norm_name;                 // of the norm before the mixer, as in the official code
  void (*validate)(const ModelConfig&);  // throws Error on a value that this system cannot have
  std::unique_ptr<Mixer> (*make_mixer)(const LayerContext&);
};

std::span<const System> systems();
// Throws Error naming the systems that there are.
const System& find_system(const std::string& name);

}  // namespace sisa::model
